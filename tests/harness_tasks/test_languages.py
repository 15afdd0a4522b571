"""The language table against facts that are written down here independently."""

import pytest

from harness_tasks.audit import audit
from harness_tasks.languages import LANGUAGES, axis_slug
from harness_tasks.sources import DataError
from harness_tasks.targets import language_groups, targets
from harness_tasks.targets.forms import COPA_WORDS, NLI_WORDS


def test_every_language_of_the_tasks_has_a_row_and_no_other():
    assert {code for target in targets().values() for code in target.places} <= set(LANGUAGES)
    assert set(NLI_WORDS) == set(targets()["xnli"].languages)
    assert set(COPA_WORDS) == set(targets()["xcopa"].languages)
    assert [len(targets()[name].languages) for name in ("xnli", "xcopa")] == [15, 12]
    assert all(code == language.code for code, language in LANGUAGES.items())
    official = {code for target in targets().values() for code in target.languages}
    assert len({LANGUAGES[code].iso639_3 for code in official}) == len(official)


def test_only_quechua_and_haitian_are_unseen():
    official = {code for name in ("xnli", "xcopa") for code in targets()[name].languages}
    assert {code for code in official if not LANGUAGES[code].in_xlmr} == {"qu", "ht"}
    assert all((language.cc100_gib > 0) == language.in_xlmr for language in LANGUAGES.values())


def test_sizes_of_cc100():
    """Conneau et al. 2020, Table 6."""
    assert LANGUAGES["en"].cc100_gib == 300.8
    assert LANGUAGES["sw"].cc100_gib == 1.6
    assert LANGUAGES["vi"].cc100_gib == 137.3
    sizes = {
        "af": 1.3,
        "fa": 111.6,
        "fi": 54.3,
        "he": 31.6,
        "hu": 58.4,
        "jv": 0.2,
        "ka": 9.1,
        "kk": 6.4,
        "ms": 8.5,
    }
    sizes |= {"nl": 29.3, "pt": 49.1, "tl": 3.1, "yo": 0, "yor": 0}  # Tagalog is called Filipino there
    assert {code: LANGUAGES[code].cc100_gib for code in sizes} == sizes


def test_groups_of_each_axis_are_a_partition():
    for target, codes in ((name, each.languages) for name, each in targets().items()):
        groups = language_groups(target)
        for axis in ("script:", "family:"):
            members = [code for value, some in groups.items() if value.startswith(axis) for code in some]
            assert sorted(members) == sorted(codes)
        assert sorted(groups["seen"] + groups.get("unseen", ())) == sorted(codes)
    assert language_groups("xcopa")["unseen"] == ("ht", "qu")
    assert "unseen" not in language_groups("xnli")
    assert language_groups("xnli")["script:Cyrillic"] == ("bg", "ru")
    assert language_groups("xnli")["family:Turkic"] == ("tr",)


def test_unknown_target_or_base_is_refused():
    with pytest.raises(DataError, match="xlm-r"):
        language_groups("xnli", base="mbert")
    with pytest.raises(DataError, match="unknown target task 'xyz'"):
        language_groups("xyz")


def test_names_of_groups():
    assert axis_slug("family:Indo-European") == "family_indo_european"


def test_the_files_are_in_the_script_of_the_table(real_data):
    for target in ("xnli", "xcopa"):
        for language in targets()[target].languages:
            found = audit(target, language, "validation", str(real_data))
            assert len(found["text in another script"]) < 0.12 * (2490 if target == "xnli" else 100)
