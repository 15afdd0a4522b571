"""A base model of a few thousand random weights, so that a whole `xscale run` takes seconds; and xscale called in-process."""

import contextlib
import io
import json
import re
import sys
from pathlib import Path

import pytest

from harness_tasks.sources import BUNDLED

EXPERIMENT = """\
name: tiny
data: bundled
base: {base}
intermediate: bundled_nli
sizes: {sizes}
seeds: [1]
targets:
  xnli: {{train: [bundled_nli_target], size: 16}}
training:
  intermediate: {{epochs: 1, batch_size: 16, max_length: 32, freeze: nothing}}
  xnli: {{epochs: 1, batch_size: 16, max_length: 32, freeze: embeddings}}
evaluation:
  xnli: {{languages: [en, de], limit: 12}}
"""


def make_base(folder: Path, token_types: bool = False) -> Path:
    """A BERT of one layer, 16 wide, random weights, with a tokenizer of the bundled English words; with `token_types` it is
    told which text of a pair each token is of, as BERT is, else not, as the embedded base is not."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    text = (BUNDLED / "xscale/nli/default/train.jsonl").read_text(encoding="utf-8")[:200_000]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted(set(re.findall(r"[a-z]+", text)))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
        model_input_names=["input_ids", *(["token_type_ids"] if token_types else []), "attention_mask"],
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def make_head(folder: Path, base: Path) -> Path:
    """A checkpoint folder with an untrained XNLI head over `base`."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from xscale.encoding import NLI_LABELS

    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(base, id2label=dict(enumerate(NLI_LABELS)))
    torch.nn.init.normal_(model.classifier.weight)  # predictions of more than one class
    model.save_pretrained(folder / "xnli")
    AutoTokenizer.from_pretrained(base).save_pretrained(folder / "xnli")
    return folder


def write_experiment(folder: Path, base: Path, sizes: str = "[0, 32, 64]") -> Path:
    """The tiny experiment's file."""
    path = folder / "tiny.yaml"
    path.write_text(EXPERIMENT.format(base=base, sizes=sizes), encoding="utf-8")
    return path


def call(*arguments: object) -> tuple[int, str, str]:
    """`xscale <arguments>` in this process: exit code, standard output, standard error."""
    from xscale import progress
    from xscale.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    patch = pytest.MonkeyPatch()
    patch.setattr(sys, "argv", ["xscale", *map(str, arguments)])
    patch.setattr(progress.console, "_file", err)
    code: object = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        patch.undo()
    assert isinstance(code, int)
    return code, out.getvalue(), err.getvalue()


def write_manifest_json(path: Path, **entry: object) -> Path:
    """A manifest of one entry, `pretrained` = ./model unless given."""
    fields = {"id": "model", "model": "xscale", "model_args": {"pretrained": "./model"}} | entry
    path.write_text(json.dumps({"version": 1, "entries": [fields]}, indent=1), encoding="utf-8")
    return path
