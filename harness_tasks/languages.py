"""The languages of all targets (``languages.tsv``): names, script, family, and how much of them XLM-R was pretrained on.

Sources of the columns:

* ``iso639_3``, ``name``: the ISO 639-3 code that ISO 639-1 gives the language (for Arabic, Chinese, Estonian,
  Malay, Persian, Quechua and Swahili a macrolanguage), https://iso639-3.sil.org
* ``script``: the script of the published files (checked by ``python -m harness_tasks.audit``), names of ISO
  15924
* ``family``: top-level family of Glottolog 5 (https://glottolog.org), except that Haitian, which Glottolog
  files below French, is called a creole
* ``cc100_gib``: Conneau et al. 2020 (https://aclanthology.org/2020.acl-main.747), Appendix A,
  Table 6: size of the language in CC-100, the pretraining data of XLM-R, in GiB. Romanized Hindi, Tamil and
  Urdu (0.5, 0.3 and 0.5 GiB) are counted apart there and left out; Chinese is the simplified part
  (traditional has another 16.6). 0: not in it.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness_tasks.errors import UserError

TABLE = Path(__file__).with_name("languages.tsv")


@dataclass(frozen=True)
class Language:
    """One language; ``cc100_gib`` is 0 where it is not in XLM-R's pretraining data, None where nobody said."""

    code: str
    iso639_3: str
    name: str
    script: str
    family: str
    cc100_gib: float | None

    @property
    def in_xlmr(self) -> bool:
        """Whether XLM-R's pretraining data has it."""
        return bool(self.cc100_gib)


def _read_table(path: Path) -> dict[str, Language]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return {row["code"]: Language(**{**row, "cc100_gib": float(row["cc100_gib"])}) for row in rows}  # type: ignore[arg-type]


LANGUAGES = _read_table(TABLE)


def groups_of(languages: Sequence[Language], base: str = "xlm-r") -> dict[str, tuple[str, ...]]:
    """Axis value -> the languages that have it: ``seen``, ``unseen``, ``script:Latin``, ``family:Turkic``.

    ``seen`` and ``unseen`` say whether a language is in the pretraining data of `base`; only ``xlm-r`` (and
    what was distilled from it or continues it) is known. Values that no language has are left out.
    """
    if base != "xlm-r":
        raise UserError(f"the pretraining languages of {base!r} are not known here; known: xlm-r")
    values = {
        language.code: "seen" if language.in_xlmr else "unseen"
        for language in languages
        if language.cc100_gib is not None
    }
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
