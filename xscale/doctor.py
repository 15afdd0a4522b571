"""Does a data source have what is asked of it? The first rows of every set, and what fails."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from harness_tasks import hub
from harness_tasks.sources import mirror_file, mirror_folder, read_rows, resolve_source
from xscale.errors import UserError
from xscale.splits import Split

ABSENT = "not in this source"
_NO_WAY_THERE = ("ConnectError", "ConnectionError", "OfflineModeIsEnabled", "ProxyError")


def examine(splits: Sequence[Split], source: str, seconds: float) -> Iterator[tuple[Split, str | None]]:
    """Each split with what is wrong with it in this source (`ABSENT`, or words), or None: its first rows are read and must fit.

    On the hub nothing else is downloaded. An answer that takes longer than `seconds` counts as none. Raises `UserError` when
    the hub cannot be reached at all.
    """
    import datasets  # noqa: F401  (takes seconds, which are not the first set's)

    source = resolve_source(source)
    for number, split in enumerate(splits):
        if source == "hub" and number == 0:
            _refuse_without_hub(split)
        yield split, _within(seconds, split, source)


def hub_revisions(splits: Sequence[Split]) -> Iterator[tuple[str, str]]:
    """Each set with its revision as `harness_tasks/hub_revisions.tsv` wants it, at what the hub's branch is now.

    Raises `UserError` when the hub does not say.
    """
    for dataset, revision in dict.fromkeys((split.dataset, split.revision) for split in splits):
        branch, _ = hub.revision_of(dataset, revision)
        try:
            commit = hub.commit_on_hub(dataset, branch)
        except (UserError, ConnectionError) as error:
            raise UserError(f"{dataset} at {branch} on the Hugging Face hub: {error}") from None
        yield dataset, commit if branch == "main" else f"{branch}@{commit}"


def _within(seconds: float, split: Split, source: str) -> str | None:
    """What is wrong with a split; a thread that does not end in time is left behind."""
    answer: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=lambda: answer.put(_wrong(split, source)), daemon=True).start()
    try:
        return answer.get(timeout=seconds)
    except queue.Empty:
        return f"no answer within {seconds:g} s"


def _wrong(split: Split, source: str) -> str | None:
    folder = mirror_folder(source)
    if folder is not None and mirror_file(folder, *split.place) is None:
        return ABSENT
    try:
        split.fits(_first_rows(split, source))
    except UserError as error:
        return str(error)
    except Exception as error:  # whatever it is, the other sets are still looked at
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return None


def _first_rows(split: Split, source: str) -> list[dict[str, Any]]:
    if source == "hub":
        return hub.first_rows(*split.place, split.revision)
    return read_rows(*split.place, source)


def _refuse_without_hub(split: Split) -> None:
    try:
        hub.commit_on_hub(split.dataset, "main")
    except UserError:
        pass
    except ConnectionError as error:
        if type(error.__cause__).__name__ in _NO_WAY_THERE:
            raise UserError(
                f"the Hugging Face hub cannot be reached: {error}; check the network, HF_ENDPOINT and HF_HUB_OFFLINE, or "
                "look at a mirror folder with --data"
            ) from None
