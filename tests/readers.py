"""The readers of files that a person could have changed, as functions of a folder and a file's content, for generated input.

A content is bytes, or anything that JSON can hold. A reader returns what it read, None where it refused (a `UserError`), and
lets every other exception through.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from harness_tasks.languages import LANGUAGES
from harness_tasks.subsets.user import read_subsets
from harness_tasks.targets.registry import shipped_targets
from harness_tasks.targets.user import read_targets_file
from xscale.costs import measured
from xscale.errors import UserError
from xscale.evaluation.answers import SETTINGS, is_current, known_answers, stored_answers
from xscale.evaluation.predictions import SCHEMA, read_predictions, write_predictions
from xscale.evaluation.stored import results_words
from xscale.experiment import read_experiment
from xscale.journal import journal_of, read_events
from xscale.leaderboard.panels import build_panels, load_results
from xscale.manifest import Entry, Manifest, read_manifest
from xscale.model_files import check_model_folder
from xscale.questions import question_of
from xscale.status import status_lines
from xscale.training.units import checkpoint_record, linked_units
from xscale.workspace import Workspace

Reader = Callable[[Path, Any], Any]
_odd = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=20),
    st.sampled_from(["\ud800", "\x1b[2J", "\u202e", "~nosuchuser/x", "../..", "/dev/zero", "a\0b", "nan", "1e999", "yes"]),
)  # fmt: skip
anything = st.recursive(
    _odd, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


@st.composite
def changed(draw: st.DrawFn, shape: Any) -> Any:
    """The shape with one or two of its parts exchanged, dropped or added to."""
    data = json.loads(json.dumps(shape))
    for _ in range(draw(st.integers(1, 2))):
        place: Any = data
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            inside = place[key]
            if isinstance(inside, dict | list) and inside and draw(st.booleans()):
                place = inside
                continue
            what = draw(st.integers(0, 3))
            if what == 0:
                del place[key]
            elif what == 1 and isinstance(place, dict):
                place[draw(st.text(max_size=8))] = draw(anything)
            else:
                place[key] = draw(anything)
            break
    return data


def _bytes(content: Any) -> bytes:
    return content if isinstance(content, bytes) else json.dumps(content).encode()


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _refused(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except UserError as error:
        assert str(error).strip() and len(str(error)) < 5000
        return None


def _manifest(folder: Path, content: Any) -> Any:
    return _refused(lambda: read_manifest(_write(folder / "m.json", _bytes(content))))


def _experiment(folder: Path, content: Any) -> Any:
    return _refused(lambda: read_experiment(_write(folder / "e.yaml", _bytes(content))))


def _subsets(folder: Path, content: Any) -> Any:
    return _refused(lambda: read_subsets(_write(folder / "s.yaml", _bytes(content))))


def _targets(folder: Path, content: Any) -> Any:
    path = _write(folder / "t.yaml", _bytes(content))

    def read() -> Any:
        described = read_targets_file(path, shipped_targets(), LANGUAGES)
        for target in described.targets.values():
            for place in target.places.values() if target.user else ():  # what is taken can be asked
                row = dict.fromkeys(target.text_fields, "A text.")
                assert target.context is not None
                asked = [target.context(row, place.words), *target.choices(row, place.words)]
                assert all(isinstance(text, str) for pair in (asked, *target.pairs(row)) for text in pair)
        return described

    return _refused(read)


def _log(folder: Path, content: Any) -> Any:
    lines = content if isinstance(content, bytes) else b"\n".join(map(_bytes, content)) + b"\n"
    workspace = Workspace(folder / "log" / "m.json")
    _write(journal_of(workspace.manifest), lines)
    read_events(journal_of(workspace.manifest))
    measured(workspace, "b")
    question_of(workspace.manifest, ["a"])
    _write(workspace.checkpoints / "a" / "recipe.json", b"{}")
    if not (workspace.results / "a").exists():
        write_good_predictions(folder / "log")
    return status_lines(workspace, "")


def _record(folder: Path, content: Any) -> Any:
    workspace = Workspace(folder / "record" / "m.json")
    _write(workspace.checkpoints / "a" / "recipe.json", _bytes(content))
    _write(journal_of(workspace.manifest), _bytes(SHAPES["log"][0]) + b"\n")
    linked_units(workspace.checkpoints)
    measured(workspace, "b")
    status_lines(workspace, "")
    return checkpoint_record(workspace.checkpoints / "a")


def _model_file(name: str) -> Reader:
    def read(folder: Path, content: Any) -> Any:
        model = folder / f"of-{name}"
        _write(model / "model.safetensors", b"")
        _write(model / name, _bytes(content))
        return _refused(lambda: [check_model_folder(model, "here")])

    return read


def write_good_predictions(folder: Path, info: Any = None) -> Path:
    """A file of one row with the description `info`, as xscale writes it."""
    row = {
        "target": "xnli", "task": "xnli_ood_de", "language": "de", "row": 0, "label": 1, "prediction": 1,
        "logprobs": [-1.0, -0.5, -2.0], "cluster": 0, "numerator": 1.0, "denominator": 1.0,
    }  # fmt: skip
    path = folder / "results" / "a" / "predictions.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_predictions(
        path, pa.Table.from_pylist([row], schema=SCHEMA), SHAPES["description"] if info is None else info
    )
    return path


def _predictions(folder: Path, content: Any) -> Any:
    path = folder / "results" / "a" / "predictions.parquet"
    return _refused(lambda: read_predictions(_write(path, _bytes(content))))


def _description(folder: Path, content: Any) -> Any:
    """Results whose description is well sealed, but says anything: the board must show the others all the same."""
    if isinstance(content, bytes):
        return _predictions(folder, content)
    path = write_good_predictions(folder, content)
    assert pq.read_metadata(path).num_rows == 1
    entry = Entry(id="a", model="hf", model_args={"pretrained": "x/y"})
    results_words(path.parent, entry)
    key = SHAPES["description"] | {name: None for name in SETTINGS}
    known_answers(stored_answers(path.parent, key), key, "xnli")
    is_current(path.parent, key)
    results = load_results(Manifest(entries=[entry]), folder / "results")
    build_panels(results)
    return results


SHAPES: dict[str, Any] = {
    "manifest": {
        "version": 1,
        "entries": [
            {"id": "a", "model": "hf", "model_args": {"pretrained": "x/y", "lr": 0.1}, "size": 4, "seed": 1,
             "targets": {"xnli": ["mnli"]}, "note": "n", "sha256": "0" * 64},
            {"id": "b", "model": "xscale", "model_args": {"pretrained": "./b"}, "baseline": "a", "intermediate": ["mnli"]},
        ],
    },
    "experiment": {
        "name": "e", "data": "bundled", "base": "./b", "intermediate": "bundled_nli", "sizes": [0, 8], "seeds": [1],
        "targets": {"xnli": {"train": ["bundled_nli_target"], "size": 8}}, "recipe": "laptop",
        "training": {"intermediate": {"epochs": 1}}, "evaluation": {"xnli": {"languages": ["en"], "limit": 3}},
        "masked_lm": {"texts": "t", "ratio": 0.5}, "lora": {"rank": 2}, "development": {"choose": "best"},
    },
    "subsets": {
        "subsets": [
            {"name": "mine", "target": "xnli", "citation": "c", "rule": {"all": [
                {"field": "premise", "min_words": 3}, {"not": {"field": "hypothesis", "matches": "a+"}}]}},
            {"name": "other", "target": "xnli", "citation": "c", "rows": [1, "2-5"]},
        ]
    },
    "targets": {
        "languages": [
            {"target": "xnli", "code": "kmr", "name": "Kurmanji", "script": "Latin", "family": "Indo-European", "cc100_gib": 0.4,
             "dataset": "me/x", "config": "default", "splits": {"test": "test"}, "fields": {"premise": "s1"},
             "labels": {"entailment": 0, "neutral": 1, "contradiction": 2}, "rows": "parallel", "words": ["a", "b", "c", "d"]},
        ],
        "targets": [
            {"name": "mine", "title": "Mine", "head": "multiple_choice", "text_fields": ["p", "one", "two"],
             "answers": ["first", "second"], "pairs": [["p", "one"], ["p", "two"]],
             "prompt": {"context": "{p} {word1}", "choices": ["{one}", "{two}"]}, "cluster": 2,
             "languages": [{"code": "en", "dataset": "me/y", "config": "en", "words": ["So"]}],
             "subsets": [{"name": "short", "citation": "c", "rule": {"field": "p", "max_words": 4}}]},
        ],
    },
    "log": [
        {"event": "planned", "experiment": "e", "recipes": [["a", 0], ["b", 8]], "command": "xscale run e", "data": "bundled",
         "asks": {"xnli": [["de"], 3], "xcopa": [["et", "it"], None]}, "question": {"subset": "ood", "targets": ["xnli"]}},
        {"event": "started", "kind": "train", "id": "a", "part": "encoder", "unit": "0" * 64},
        {"event": "progress", "what": "train a: xnli", "done": 1, "total": 2},
        {"event": "done", "kind": "train", "id": "a", "seconds": 1.5},
        {"event": "failed", "kind": "evaluate", "id": "b", "problem": "p", "traceback": None},
    ],
    "record": {
        "digest": "0" * 64, "units": {"encoder": "0" * 64, "xnli": "1" * 64},
        "recipe": {"base": "b", "phases": {"intermediate": {"batch_size": 4, "updates": "epochs"}},
                   "development": {"choose": "best"}},
        "phases": [{"phase": "intermediate", "steps": 3, "seconds": 1.0, "rows_sha256": "0" * 64}],
        "development": {"xnli": {"collapsed": True}},
    },
    "index": {"metadata": {"total_size": 4}, "weight_map": {"a": "model.safetensors", "b": "model.safetensors"}},
    "config": {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "id2label": {"0": "a", "1": "b"}},
    "tokenizer": {"tokenizer_class": "X", "model_max_length": 10**30, "vocab_file": "v.txt"},
    "predictions": None,
    "description": {
        "checkpoint": "a", "weights": "w", "source": "bundled", "model_args": {}, "precision": "fp32", "limit": {"xnli": None},
        "fingerprints": {"xnli": {"de": "f"}}, "asked_as": {"xnli": {"de": "a"}}, "anchors": {"xnli": "f"},
        "task_versions": {"xnli": 1}, "lm_eval": "0",
        "evaluation": {},
    },
}  # fmt: skip
READERS: dict[str, Reader] = {
    "manifest": _manifest,
    "experiment": _experiment,
    "subsets": _subsets,
    "targets": _targets,
    "log": _log,
    "record": _record,
    "index": _model_file("model.safetensors.index.json"),
    "config": _model_file("config.json"),
    "tokenizer": _model_file("tokenizer_config.json"),
    "description": _description,
}
del SHAPES["predictions"]
