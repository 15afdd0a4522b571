"""Retrieval without training: the candidate whose mean-pooled hidden state has the highest cosine with the document's.

The states are those of one layer of the encoder as the intermediate phase left it: 7 of 12, 14 of 24 unless `xscale_layer` of the
configuration says otherwise, averaged over all tokens, special ones too (jiant's and XTREME's default). Where a document may
have no right candidate, pairs are mined as by XTREME (Artetxe & Schwenk 2019, ACL, section 3): score = cosine over the mean
cosine of either sentence with its four nearest; each sentence is in one pair at most, the highest first; what counts is above a
threshold, the one of highest F1 on the validation split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, PreTrainedTokenizerBase

from harness_tasks.rows import Corpus, corpus
from harness_tasks.targets import get_target
from xscale.errors import UserError
from xscale.heads.record import Document, Forward, Head, Inputs, Tensors, Text

NEAREST = 4
NOTHING = "-1"
_ROWS_AT_ONCE = 1024  # of a product of similarities, which never is whole in memory


def layer_of(config: Any) -> int:
    """Whose output is taken, 1 to the number of layers. Raises `UserError` for a layer that there is not."""
    layers = int(config.num_hidden_layers)
    layer = getattr(config, "xscale_layer", None)
    if layer is not None and not 1 <= int(layer) <= layers:
        raise UserError(f"layer {layer}: the encoder has layers 1 to {layers}")
    return max(1, layers * 7 // 12) if layer is None else int(layer)


def _corpus(documents: Sequence[Document]) -> Corpus:
    first = documents[0]
    return corpus(first["target"], first["language"], first["data"])


def _inputs(tokenizer: PreTrainedTokenizerBase, documents: Sequence[Document], length: int) -> Inputs:
    """All sources and candidates of the documents' language, and of its sample; a document's own text is its row's."""
    if not documents:
        return Inputs([], [])
    found = _corpus(documents)
    texts = [*found.sources, *(text for _, text in found.candidates)]
    if found.sample is not None:
        texts += [*found.sample.sources, *(text for _, text in found.sample.candidates)]
    made = tokenizer(
        texts,
        truncation=True,
        max_length=length,
        return_attention_mask=False,
        return_token_type_ids="token_type_ids" in tokenizer.model_input_names,
    )
    types = made.get("token_type_ids") or [None] * len(texts)
    encoded = [
        Text(np.array(ids, np.int32), None if its is None else np.array(its, np.int32))
        for ids, its in zip(made["input_ids"], types, strict=True)
    ]
    mined = get_target(documents[0]["target"]).mined
    shared = range(0 if mined else len(found.sources), len(texts))
    return Inputs(encoded, [[int(document["row"])] for document in documents], shared)


def _read(forward: Forward, inputs: Tensors, marks: torch.Tensor, config: Any) -> torch.Tensor:
    """The mean over a text's tokens of the layer's states: (texts, hidden size)."""
    output = forward({**inputs, "output_hidden_states": True})  # type: ignore[dict-item]
    states = output.hidden_states[layer_of(config)].float()
    mask = inputs["attention_mask"].to(states.dtype).unsqueeze(2)
    return (states * mask).sum(dim=1) / mask.sum(dim=1)


def _decode(
    outputs: Sequence[np.ndarray | None], inputs: Inputs, documents: Sequence[Document], config: Any
) -> list[str]:
    if not documents:
        return []
    found = _corpus(documents)
    names = [name for name, _ in found.candidates]
    sources, first = len(found.sources), len(found.sources)
    candidates = unit(outputs[first : first + len(names)])
    if not get_target(documents[0]["target"]).mined:
        mine = unit([outputs[its[0]] for its in inputs.of])
        return [names[index] for index in nearest(mine, candidates, 1)[0][:, 0].tolist()]
    assert found.sample is not None
    begin = first + len(names)
    sample = found.sample
    theirs = unit(outputs[begin : begin + len(sample.sources)])
    others = unit(outputs[begin + len(sample.sources) :])
    gold = {
        (row, place)
        for place, (name, _) in enumerate(sample.candidates)
        for row in _rows_of(sample).get(name, ())
    }
    threshold = best_threshold(mined_pairs(theirs, others), gold)
    pairs = mined_pairs(unit(outputs[:sources]), candidates)
    answers = {row: names[place] for (row, place), score in pairs.items() if score >= threshold}
    return [answers.get(int(document["row"]), NOTHING) for document in documents]


def _rows_of(sample: Corpus) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(sample.gold):
        if name:
            rows.setdefault(name, []).append(row)
    return rows


def unit(vectors: Sequence[np.ndarray | None]) -> np.ndarray:
    """Vectors of length 1, as the rows of a matrix (float32)."""
    made = np.stack([vector for vector in vectors if vector is not None]).astype(np.float32)
    assert len(made) == len(vectors)
    return np.asarray(made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-12))


def nearest(queries: np.ndarray, keys: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """For each query the numbers of its `count` keys of highest cosine, highest first (the first among equals), and these:
    (queries, count) each. Rows of both are of length 1."""
    count = min(count, len(keys))
    places = np.empty((len(queries), count), np.int64)
    scores = np.empty((len(queries), count), np.float32)
    for start in range(0, len(queries), _ROWS_AT_ONCE):
        block = queries[start : start + _ROWS_AT_ONCE] @ keys.T
        rows = np.arange(len(block))
        for rank in range(count):
            best = block.argmax(axis=1)
            places[start : start + len(block), rank] = best
            scores[start : start + len(block), rank] = block[rows, best]
            block[rows, best] = -np.inf
    return places, scores


def mined_pairs(sources: np.ndarray, candidates: np.ndarray) -> dict[tuple[int, int], float]:
    """(source, candidate) -> score of the pairs in which each is once at most, highest first (see above)."""
    there, ahead = nearest(sources, candidates, NEAREST)
    back, behind = nearest(candidates, sources, NEAREST)
    mean_ahead, mean_behind = ahead.mean(axis=1), behind.mean(axis=1)
    of_sources = ahead / ((mean_ahead[:, None] + mean_behind[there]) / 2)
    of_candidates = behind / ((mean_behind[:, None] + mean_ahead[back]) / 2)
    best = of_sources.argmax(axis=1), of_candidates.argmax(axis=1)
    rows, columns = np.arange(len(sources)), np.arange(len(candidates))
    pairs = np.concatenate(
        [np.stack([rows, there[rows, best[0]]], axis=1), np.stack([back[columns, best[1]], columns], axis=1)]
    )
    scores = np.concatenate([of_sources[rows, best[0]], of_candidates[columns, best[1]]])
    taken: tuple[set[int], set[int]] = (set(), set())
    found: dict[tuple[int, int], float] = {}
    for number in np.argsort(-scores, kind="stable").tolist():
        row, column = pairs[number].tolist()
        if row not in taken[0] and column not in taken[1]:
            taken[0].add(row)
            taken[1].add(column)
            found[row, column] = float(scores[number])
    return found


def best_threshold(pairs: Mapping[tuple[int, int], float], gold: set[tuple[int, int]]) -> float:
    """The score from which on pairs have the highest F1 against `gold` (of equal ones the highest score): halfway to the next
    pair; infinite where no pair is right."""
    ordered = sorted(pairs.items(), key=lambda item: -item[1])
    best, threshold, right = 0.0, float("inf"), 0
    for number, (pair, score) in enumerate(ordered, 1):
        right += pair in gold
        following = ordered[number][1] if number < len(ordered) else score
        f1 = 2 * right / (number + len(gold))
        if f1 > best and (number == len(ordered) or following < score):
            best, threshold = f1, (score + following) / 2
    return threshold


RETRIEVAL = Head("retrieval", AutoModel, _inputs, _read, _decode, one_block=True, optional=("pooler.",))
