"""The audit finds planted defects, and what is known of the official files."""

import pytest

from harness_tasks import audit as module
from harness_tasks.audit import audit, main

FIELDS = ("premise", "hypothesis")


def rows(*pairs):
    return [{"premise": p, "hypothesis": h, "label": 0, "question": "cause"} for p, h in pairs]


def test_planted_defects():
    english = rows(("He went home.", "She is the boss."), ("Yes.", "No."), ("One two three.", "Four."))
    other = rows(("Er ging heim.", "She is the boss."), ("...", "Nein. "), ("Er ging heim.", "Er &amp; sie"))
    other[2]["label"] = 1
    assert module.untranslated(other, english, FIELDS) == [0]
    assert module.without_letters(other, english, FIELDS) == [1]
    assert module.outer_space(other, english, FIELDS) == [1]
    assert module.markup(other, english, FIELDS) == [2]
    assert module.wrong_labels(other, english, FIELDS) == [2]
    assert module.no_final_punctuation(rows(("ฝนตก", "")), [], FIELDS) == [0]
    twice = [*other, {**other[0], "label": 2}, dict(other[1])]
    assert module.repeated(twice, twice, FIELDS) == [3, 4]
    assert module.contradictory(twice, twice, FIELDS) == [3]
    assert module.same_texts(rows(("Ja", "ja"), ("Ja", "nein")), [], FIELDS) == [0]
    assert module.other_script(rows(("Привет", "Hello there")), "ru", FIELDS) == [0]
    assert module.other_script(rows(("中文", "中文 abc")), "zh", FIELDS) == [0]
    assert module.untranslated(english, english, FIELDS) == []


def test_what_is_known_of_the_official_files(real_data):
    hindi = audit("xnli", "hi", "test", str(real_data))
    assert hindi["text in another script"].__len__() == 348
    assert hindi["text without a letter"] == [1573]
    assert audit("xnli", "de", "test", str(real_data))["text without a letter"] == [1536, 1537, 1538]
    english = audit("xnli", "en", "test", str(real_data))
    assert english["same texts as an earlier row, other label"] == [2902]
    indonesian = audit("xcopa", "id", "test", str(real_data))
    assert indonesian["text in English"] == [330, 416, 440, 442]
    assert len(audit("xcopa", "ta", "test", str(real_data))["premise without final punctuation"]) == 499
    for language in ("et", "qu"):
        found = audit("xcopa", language, "test", str(real_data))
        assert not any(found.values())


def test_sets_that_others_made(real_data, capsys):
    """AfriXNLI's rows are compared with those that they translate; a native set has none to compare with."""
    assert not audit("xnli", "yor", "test", str(real_data))["label is not the English row's"]
    assert "text in English" in audit("xnli", "eu_native", "test", str(real_data))
    main(["--data", str(real_data), "--languages", "amh,mk", "--check", "script"])
    shown = capsys.readouterr().out
    assert "xnli test (1 languages)" in shown and "xcopa validation (1 languages)" in shown
    with pytest.raises(SystemExit):
        main(["--data", str(real_data), "--target", "xcopa", "--languages", "amh"])
    assert "xcopa has no language 'amh'" in capsys.readouterr().err


def test_the_command_shows_the_wrong_questions(real_data, capsys):
    main(["--data", str(real_data), "--target", "xcopa", "--check", "question", "--rows"])
    shown = capsys.readouterr().out
    assert "question is not COPA's: id 4, it 4, sw 37, th 250, tr 51" in shown
    assert "question is not COPA's: id 5, it 5, sw 6, th 52, tr 52" in shown
    assert "    id: 84 111 436 454" in shown


def test_the_command_says_in_one_line_what_is_missing(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--data", str(tmp_path / "none")])
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
