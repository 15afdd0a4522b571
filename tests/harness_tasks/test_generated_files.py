"""The generated files are those that the code gives now."""

import re
from pathlib import Path

import pytest

from harness_tasks.generate import BLOCKS, fill_blocks, main, stale, user_files, yaml_files
from harness_tasks.targets import targets
from harness_tasks.tasks import group_name, task_name, yaml_folder

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("yaml_tasks/*/README.md"), *ROOT.glob("docs/*.md")]
checkout = pytest.mark.skipif(not (ROOT / "yaml_tasks").is_dir(), reason="not a checkout")


@checkout
def test_yaml_files_are_up_to_date():
    """If this fails, run `python -m harness_tasks.generate`."""
    files = yaml_files()
    folder = ROOT / "yaml_tasks"
    for name, content in files.items():
        assert (folder / name).read_text(encoding="utf-8") == content, name
    assert stale(folder, files) == []


@checkout
def test_tables_are_up_to_date():
    """If this fails, run `python -m harness_tasks.generate`."""
    used = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert fill_blocks(text) == text, page
        used |= set(re.findall(r"<!-- generated: (.+?) -->", text))
    assert used == set(BLOCKS)


def test_the_folder_is_found():
    assert (yaml_folder() / "xnli_ood" / "_xnli_ood.yaml").is_file()
    assert (yaml_folder() / "xcopa_ood" / "README.md").is_file()


def test_names_are_unique_and_of_plain_characters():
    names = [
        match
        for content in yaml_files().values()
        for match in re.findall(r"^(?:task|group): (\S+)$", content, flags=re.MULTILINE)
    ]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z0-9_]+(-Latn)?", name) for name in names)
    expected = {
        name
        for target, each in targets().items()
        for name in (
            *(task_name(target, language) for language in each.places),
            *(group_name(target, subset.name) for subset in each.subsets),
        )
    }
    assert expected <= set(names)
    assert {"xnli_ood_yor", "xcopa_ood_mk", "xnli_ood_more", "xcopa_ood_indic", "xnli_ood_afri"} <= set(names)
    assert {"xnli_ood", "xcopa_ood", "xnli_ood_negation", "xcopa_ood_easy", "xcopa_ood_unseen"} <= set(names)


def test_the_task_called_id_is_indonesian():
    assert task_name("xcopa", "id") == "xcopa_ood_id"
    assert group_name("xcopa", "id") == "xcopa_ood_easy"
    assert group_name("xnli", "id") == "xnli_ood_id"


def test_every_file_names_the_version():
    for target, version in ((name, each.version) for name, each in targets().items()):
        groups = [text for name, text in yaml_files().items() if name.split("/")[-1].startswith(f"_{target}")]
        assert all(f'version: "{version}"' in text for text in groups)


def test_files_for_a_users_subsets(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text("{name: mine, target: xcopa, citation: me, rows: [1, 2]}", encoding="utf-8")
    main(["--subsets", str(path), "--output", str(tmp_path / "out")])
    written = {p.name for p in (tmp_path / "out" / "xcopa").iterdir()}
    assert {"_xcopa_ood_mine.yaml", "xcopa_ood_mine_qu.yaml", "utils.py", "_xcopa_ood_common_yaml"} <= written
    assert set(user_files(path)) == {f"xcopa/{name}" for name in written}
    assert "files changed" in capsys.readouterr().out


def test_a_wrong_users_file_ends_in_one_line(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text("{name: mine}", encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        main(["--subsets", str(path), "--output", str(tmp_path / "out")])
    assert caught.value.code == 2 and not (tmp_path / "out").exists()
    assert capsys.readouterr().err.startswith(f"error: subset file {path}: top level.target")
