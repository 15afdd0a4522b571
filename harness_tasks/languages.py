"""The languages of both targets: names, script, family, and how much of them XLM-R was pretrained on.

Sources of the columns:

* ``iso639_3``, ``name``: the ISO 639-3 code that ISO 639-1 gives the language (for Arabic, Chinese, Estonian,
  Quechua and Swahili a macrolanguage), https://iso639-3.sil.org
* ``script``: the script of the published files (checked by ``python -m harness_tasks.audit``), names of ISO
  15924
* ``family``: top-level family of Glottolog 5 (https://glottolog.org), except that Haitian, which Glottolog
  files below French, is called a creole
* ``in_xlmr``, ``cc100_gib``: Conneau et al. 2020 (https://aclanthology.org/2020.acl-main.747), Appendix A,
  Table 6: size of the language in CC-100, the pretraining data of XLM-R, in GiB. Romanized Hindi, Tamil and
  Urdu (0.5, 0.3 and 0.5 GiB) are counted apart there and left out; Chinese is the simplified part
  (traditional has another 16.6).
"""

from __future__ import annotations

from dataclasses import dataclass

from harness_tasks.errors import UserError

XNLI_LANGUAGES = ("ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh")
XCOPA_LANGUAGES = ("en", "et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh")
TARGET_LANGUAGES = {"xnli": XNLI_LANGUAGES, "xcopa": XCOPA_LANGUAGES}


@dataclass(frozen=True)
class Language:
    """One language; ``cc100_gib`` is 0 where it is not in the pretraining data."""

    code: str
    iso639_3: str
    name: str
    script: str
    family: str
    in_xlmr: bool
    cc100_gib: float


_ROWS = (
    # code, ISO 639-3, name, script, family, GiB in CC-100 (None: not in it)
    ("ar", "ara", "Arabic", "Arabic", "Afro-Asiatic", 28.0),
    ("bg", "bul", "Bulgarian", "Cyrillic", "Indo-European", 57.5),
    ("de", "deu", "German", "Latin", "Indo-European", 66.6),
    ("el", "ell", "Greek", "Greek", "Indo-European", 46.9),
    ("en", "eng", "English", "Latin", "Indo-European", 300.8),
    ("es", "spa", "Spanish", "Latin", "Indo-European", 53.3),
    ("et", "est", "Estonian", "Latin", "Uralic", 6.1),
    ("fr", "fra", "French", "Latin", "Indo-European", 56.8),
    ("hi", "hin", "Hindi", "Devanagari", "Indo-European", 20.2),
    ("ht", "hat", "Haitian Creole", "Latin", "Creole", None),
    ("id", "ind", "Indonesian", "Latin", "Austronesian", 148.3),
    ("it", "ita", "Italian", "Latin", "Indo-European", 30.2),
    ("qu", "que", "Quechua", "Latin", "Quechuan", None),
    ("ru", "rus", "Russian", "Cyrillic", "Indo-European", 278.0),
    ("sw", "swa", "Swahili", "Latin", "Atlantic-Congo", 1.6),
    ("ta", "tam", "Tamil", "Tamil", "Dravidian", 12.2),
    ("th", "tha", "Thai", "Thai", "Tai-Kadai", 71.7),
    ("tr", "tur", "Turkish", "Latin", "Turkic", 20.9),
    ("ur", "urd", "Urdu", "Arabic", "Indo-European", 5.7),
    ("vi", "vie", "Vietnamese", "Latin", "Austroasiatic", 137.3),
    ("zh", "zho", "Chinese", "Han", "Sino-Tibetan", 46.9),
)
LANGUAGES: dict[str, Language] = {
    code: Language(code, iso, name, script, family, gib is not None, gib or 0.0)
    for code, iso, name, script, family, gib in _ROWS
}


def language_groups(target: str, base: str = "xlm-r") -> dict[str, tuple[str, ...]]:
    """Axis value -> the target's languages that have it: ``seen``, ``unseen``, ``script:Latin``,
    ``family:Turkic``.

    ``seen`` and ``unseen`` say whether a language is in the pretraining data of `base`; only ``xlm-r`` (and
    what was distilled from it or continues it) is known. Values that no language of the target has are left
    out.
    """
    if target not in TARGET_LANGUAGES:
        raise UserError(f"unknown target task {target!r}; there are: {', '.join(TARGET_LANGUAGES)}")
    if base != "xlm-r":
        raise UserError(f"the pretraining languages of {base!r} are not known here; known: xlm-r")
    languages = [LANGUAGES[code] for code in TARGET_LANGUAGES[target]]
    values = {language.code: "seen" if language.in_xlmr else "unseen" for language in languages}
    groups: dict[str, tuple[str, ...]] = {}
    for value in ("seen", "unseen"):
        groups[value] = tuple(code for code, mine in values.items() if mine == value)
    for axis in ("script", "family"):
        for value in sorted({getattr(language, axis) for language in languages}):
            groups[f"{axis}:{value}"] = tuple(
                language.code for language in languages if getattr(language, axis) == value
            )
    return {value: codes for value, codes in groups.items() if codes}


def axis_slug(value: str) -> str:
    """An axis value as part of a group's name: ``family:Indo-European`` -> ``family_indo_european``."""
    return value.lower().replace(":", "_").replace("-", "_")
