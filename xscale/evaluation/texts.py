"""Documents without choices made ready for a head, and its outputs made texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import PreTrainedModel

from harness_tasks.targets import get_target
from xscale.errors import UserError
from xscale.evaluation.batches import Batch, Section, batch_plan, blocks, needed_blocks
from xscale.evaluation.encoder_lm import Call, Head, block_sizes, load_tokenizer, refuse_unknown_ids
from xscale.evaluation.scores import batch_number
from xscale.heads import HEADS, Document, Inputs, Text, padded_texts
from xscale.heads import Head as TextHead


@dataclass(frozen=True)
class _Block:
    """Needed documents of a section that were made texts together: the first of those is number `first` of all."""

    section: int
    positions: Sequence[int]
    documents: Sequence[Document]
    inputs: Inputs
    first: int


@dataclass(frozen=True)
class TextWork:
    """Texts of documents made ready for a head: `plan` are batches of them, `names` what each is kept under, `todo` the
    numbers of those with a needed text, `spare` whether one of these has a text that is not needed."""

    head: Head
    of_texts: TextHead
    sections: int
    texts: Sequence[Text] = field(default_factory=list)
    blocks: Sequence[_Block] = field(default_factory=list)
    plan: Sequence[np.ndarray] = field(default_factory=list)
    names: Sequence[int] = field(default_factory=list)
    todo: Sequence[int] = field(default_factory=list)
    spare: bool = False

    @property
    def target(self) -> str:
        """The head's target."""
        return self.head.target

    def batch(self, number: int, pin: bool) -> Batch:
        """The tensors of a batch, with the `marks` that the head's record reads."""
        chosen = [self.texts[text] for text in self.plan[number]]
        return padded_texts(chosen, self.head.pad, self.head.takes_types, pin)

    def call(self, model: PreTrainedModel) -> Call:
        """What the head's record reads of a model, as a function of such tensors: (texts, width)."""

        def call(batch: Batch) -> torch.Tensor:
            inputs = {name: tensor for name, tensor in batch.items() if name != "marks"}
            return self.of_texts.read(lambda given: model(**given), inputs, batch["marks"], self.head.config)

        return call


def prepare_texts(head: Head, sections: Sequence[Section], budget: int) -> TextWork:
    """Make texts of the documents of the sections' needed blocks and plan the batches, block by block.

    Raises `UserError` where tokenizer and model do not belong together.
    """
    of_texts = HEADS[get_target(head.target).head]
    tokenizer = load_tokenizer(head.folder)
    first, growth = block_sizes(budget)
    texts: list[Text] = []
    found: list[_Block] = []
    plan: list[np.ndarray] = []
    needed: set[int] = set()
    for number, section in enumerate(sections):
        wanted = set(section.needed)
        total = len(section.documents)
        for block in needed_blocks(section, blocks(total, total if of_texts.one_block else first, growth)):
            documents = [section.documents[position] for position in block]
            made = of_texts.inputs(tokenizer, documents, head.max_length)
            chosen = [place for place, position in enumerate(block) if position in wanted]
            lengths = np.array([len(text.ids) for text in made.texts])
            plan += [len(texts) + batch for batch in batch_plan(lengths, budget)]
            of = [made.of[place] for place in chosen]
            needed |= {len(texts) + text for group in (*of, made.shared) for text in group}
            found.append(
                _Block(
                    number,
                    [block[place] for place in chosen],
                    [documents[place] for place in chosen],
                    Inputs(made.texts, of, made.shared),
                    len(texts),
                )
            )
            texts += made.texts
    refuse_unknown_ids(head, max((int(text.ids.max()) for text in texts if len(text.ids)), default=0))
    todo = [number for number, batch in enumerate(plan) if not needed.isdisjoint(batch.tolist())]
    return TextWork(
        head,
        of_texts,
        len(sections),
        texts,
        found,
        plan,
        [batch_number(*_content([texts[text] for text in batch])) for batch in plan],
        todo,
        sum(len(plan[number]) for number in todo) > len(needed),
    )


def answered(work: TextWork, scores: Mapping[int, np.ndarray]) -> list[dict[int, str]]:
    """Of each section the needed documents' answers by position, from the outputs of all `todo` batches.

    Raises `RuntimeError` when those of a batch are not there, `UserError` when they are not numbers.
    """
    outputs: list[np.ndarray | None] = [None] * len(work.texts)
    for number in work.todo:
        if work.names[number] not in scores:
            raise RuntimeError(f"{work.target}: batch {number} was computed by no process")
        batch = work.plan[number]
        rows = scores[work.names[number]].reshape(len(batch), -1)
        if not np.isfinite(rows).all():
            raise UserError(
                f"{work.target}: the model gives outputs that are not numbers (NaN or infinite), so nothing is stored; its "
                "weights are damaged, or its precision is too low"
            )
        for text, row in zip(batch.tolist(), rows, strict=True):
            outputs[text] = row
    result: list[dict[int, str]] = [{} for _ in range(work.sections)]
    for block in work.blocks:
        mine = outputs[block.first : block.first + len(block.inputs.texts)]
        texts = work.of_texts.decode(mine, block.inputs, block.documents, work.head.config)
        result[block.section].update(zip(block.positions, texts, strict=True))
    return result


def _content(texts: Sequence[Text]) -> tuple[bytes, ...]:
    """All that is computed of these texts, in this order."""
    lengths = np.array([len(text.ids) for text in texts], "<i8").tobytes()
    parts = [
        part.astype("<i4").tobytes()
        for text in texts
        for part in (text.ids, text.types, text.marks)
        if part is not None
    ]
    return (lengths, *parts)
