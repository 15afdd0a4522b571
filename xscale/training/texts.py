"""Running text in many languages for masked language modelling: a folder of files, or a set of the hub or a mirror."""

from __future__ import annotations

from pathlib import Path

from harness_tasks.parsing import read_bytes
from harness_tasks.sources import MAX_BYTES, DataError, read_rows
from harness_tasks.targets import languages as known_languages
from xscale.errors import UserError
from xscale.experiment import MaskedLM
from xscale.training.leakage import Leaks, drop_leaks, evaluation_texts
from xscale.training.tasks import Example


def load_texts(masked_lm: MaskedLM, source: str) -> tuple[list[Example], Leaks]:
    """The texts, one example each, without those of the targets' evaluation sets (in the languages that files or configs
    are named after, and English). Raises `UserError` when there are none, or the field is absent."""
    examples, languages = [], ["en"]
    for name, texts in _by_language(masked_lm, source):
        examples += [Example([(text, "")], 0) for text in texts[: masked_lm.rows]]
        if name in known_languages() and name not in languages:
            languages.append(name)
    if not examples:
        raise UserError(f"masked_lm: no text in {masked_lm.texts or masked_lm.dataset}; check the place")
    kept, leaks = drop_leaks(examples, evaluation_texts(source, tuple(languages)))
    return [examples[row] for row in kept], leaks


def _by_language(masked_lm: MaskedLM, source: str) -> list[tuple[str, list[str]]]:
    if masked_lm.texts is not None:
        folder = Path(masked_lm.texts).expanduser()
        files = sorted(folder.glob("*.txt"))
        if not files:
            raise UserError(
                f"masked_lm.texts: no .txt files in {folder}; the path counts from the current folder"
            )
        try:
            return [
                (
                    file.stem,
                    [
                        line.strip()
                        for line in read_bytes(file, MAX_BYTES).decode("utf-8").splitlines()
                        if line.strip()
                    ],
                )
                for file in files
            ]
        except UnicodeDecodeError as error:
            raise UserError(
                f"masked_lm.texts: {folder}: not UTF-8 text ({error}); save it as UTF-8"
            ) from None
    assert masked_lm.dataset is not None
    found = []
    for config in masked_lm.configs:
        try:
            rows = read_rows(masked_lm.dataset, config, masked_lm.split, source)
            found.append((config, [row[masked_lm.field] for row in rows if row[masked_lm.field]]))
        except DataError as error:
            raise UserError(f"masked_lm: {error}") from None
        except KeyError:
            raise UserError(
                f"masked_lm.field: {masked_lm.dataset} ({config}) has no field {masked_lm.field!r}; "
                f"it has: {', '.join(rows[0])}"
            ) from None
    return found
