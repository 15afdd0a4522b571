"""Rows from a hub: which revision, script sets, sets that are gone, a hub that fails or is slow; asked over HTTP."""

import json
import re
from pathlib import Path

import pytest
from loopback_hub import LoopbackHub, card, parquet

from harness_tasks.hub import pinned_revisions, revision_of
from harness_tasks.sources import read_rows

OLD, NEW = [{"text": "old", "label": 0}, {"text": "older", "label": 1}], [{"text": "new", "label": 1}]
GONE = "0123456789012345678901234567890123456789"


@pytest.fixture
def hub(tmp_path):
    """owner/set has configs de and fr; its main has moved on from the commit `hub.old`. owner/script is a script, with the
    hub's conversion of configs one and two."""
    hub = LoopbackHub(tmp_path / "hub")
    readme = card({name: {"test": f"{name}/test-*.parquet"} for name in ("de", "fr")})
    files = {"README.md": readme, "fr/test-0.parquet": parquet(NEW)}
    hub.old = hub.commit("datasets/owner/set", {**files, "de/test-0.parquet": parquet(OLD)})
    hub.new = hub.commit("datasets/owner/set", {**files, "de/test-0.parquet": parquet(NEW)})
    hub.commit("datasets/owner/script", {"script.py": "raise SystemExit('code of a set was run')"})
    hub.converted = hub.commit(
        "datasets/owner/script",
        {
            "one/train_r1/0000.parquet": parquet(OLD[:1]),
            "one/train_r1/0001.parquet": parquet(OLD[1:]),
            "one/train_r2/0000.parquet": parquet(NEW),
            "two/train_r1/0000.parquet": parquet(NEW),
        },
        "refs/convert/parquet",
    )
    yield hub
    hub.close()


def ask(hub: LoopbackHub, cache: Path, *places: tuple, **environment: str) -> list:
    """What `read_rows` gives for each (set, config, split, revision), or the text of its error."""
    code = f"""
import json
from harness_tasks import hub
from harness_tasks.errors import UserError
from harness_tasks.sources import read_rows
answers = []
for dataset, config, split, revision in {list(places)!r}:
    try:
        answers.append(read_rows(dataset, config, split, "hub", revision))
    except UserError as error:
        answers.append(str(error))
print(json.dumps([answers, hub.loaded_commits()]))
"""
    done = hub.python(cache, code, **environment)
    assert done.returncode == 0, done.stderr
    answers, hub.commits = json.loads(done.stdout.splitlines()[-1])
    return answers


def test_a_revision_is_kept_to_when_the_set_has_moved_on(hub, tmp_path):
    pinned, branch, french = ask(
        hub,
        tmp_path / "cache",
        ("owner/set", "de", "test", hub.old),
        ("owner/set", "de", "test", None),
        ("owner/set", "fr", "test", None),
    )
    assert (pinned, branch, french) == (OLD, NEW, NEW)
    assert hub.commits == {"owner/set": hub.new}  # what the branch was at is known afterwards


def test_a_script_is_refused_and_its_conversion_read(hub, tmp_path):
    script, branch, commit, other = ask(
        hub,
        tmp_path / "cache",
        ("owner/script", "one", "train_r1", None),
        ("owner/script", "one", "train_r1", "refs/convert/parquet"),
        ("owner/script", "one", "train_r1", f"refs/convert/parquet@{hub.converted}"),
        ("owner/script", "two", "train_r1", "refs/convert/parquet"),
    )
    assert "owner/script (one, train_r1)" in script and "revision refs/convert/parquet" in script
    assert branch == commit == OLD and other == NEW


def test_what_is_gone_is_named(hub, tmp_path):
    answers = ask(
        hub,
        tmp_path / "cache",
        ("owner/set", "de", "test", GONE),
        ("owner/set", "de", "train", None),
        ("owner/set", "it", "test", None),
        ("owner/nothing", "de", "test", None),
        ("owner/script", "three", "train_r1", "refs/convert/parquet"),
    )
    for answer, part in zip(answers, (GONE, "train", "it", "owner/nothing", "three/train_r1"), strict=True):
        assert isinstance(answer, str) and part in answer and "XSCALE_DATA=<mirror folder>" in answer
        assert "\n" not in answer and "Traceback" not in answer


def test_another_revision_of_the_cache_is_never_taken_instead(hub, tmp_path):
    """Offline, or when the hub fails, `datasets` takes the newest revision that its cache has, whichever was asked for."""
    cache = tmp_path / "cache"
    places = [("owner/set", "de", "test", hub.old), ("owner/set", "de", "test", GONE)]
    converted = ("owner/script", "one", "train_r1", f"refs/convert/parquet@{hub.converted}")
    assert ask(hub, cache, places[0], converted) == [OLD, OLD]
    for trouble in ({"HF_HUB_OFFLINE": "1"}, {}):
        if not trouble:
            hub.trouble = {"owner/set": 503, "owner/script": 503}
        same, other, script = ask(hub, cache, *places, converted, **trouble)
        assert same == OLD and script == OLD
        assert f"its cache has revision {hub.old}, not {GONE}" in other and "does not answer" in other


def test_a_hub_that_fails_or_does_not_answer_is_one_line(hub, tmp_path):
    hub.trouble["owner/set"] = 503
    (failing,) = ask(hub, tmp_path / "cache", ("owner/set", "de", "test", None))
    assert "cannot load owner/set (de, test)" in failing and "503" in failing
    hub.trouble["owner/set"] = "4s"
    (slow,) = ask(
        hub,
        tmp_path / "cache",
        ("owner/set", "de", "test", None),
        HF_HUB_DOWNLOAD_TIMEOUT="1",
    )
    assert "cannot load owner/set (de, test)" in slow and "\n" not in slow


def test_revisions_are_commits_branches_or_both():
    commit = "b" * 40
    assert revision_of("owner/set") == ("main", None)
    assert revision_of("owner/set", commit) == ("main", commit)
    assert revision_of("owner/set", "refs/convert/parquet") == ("refs/convert/parquet", None)
    assert revision_of("owner/set", f"refs/convert/parquet@{commit}") == ("refs/convert/parquet", commit)
    branch, pinned = revision_of("allenai/cosmos_qa")
    assert branch == "refs/convert/parquet" and pinned


def test_every_shipped_set_is_pinned_to_a_commit():
    tasks = pytest.importorskip("xscale.training.tasks")
    sets = {part.dataset for task in tasks.TASKS.values() for part in (*task.parts, task.translation) if part}
    own = {name for name in sets if name.startswith(("xscale/", "ccgbank/"))}  # not on the hub
    assert len(sets) > 12
    for name in sets - own:
        assert re.fullmatch("[0-9a-f]{40}", revision_of(name)[1] or ""), name
    assert all("/" in name for name in pinned_revisions())


def test_a_mirror_made_for_an_older_name_of_a_set_is_read(tmp_path):
    folder = tmp_path / "allenai" / "social_i_qa" / "default"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text('{"context": "a"}\n')
    assert read_rows("lighteval/siqa", "default", "train", str(tmp_path)) == [{"context": "a"}]
