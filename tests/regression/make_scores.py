"""Makes the tiny checkpoints of `test_scores.py` and its reference anew: `python tests/regression/make_scores.py`.

Needed only when the format of checkpoints changes, or a change of the scores is meant. Every score that differs from the
old reference is printed, to be looked at before it is committed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import torch  # noqa: E402
from test_scores import FOLDER, REFERENCE, changed_scores, scores  # noqa: E402
from tiny_model import make_base  # noqa: E402
from transformers import AutoModelForMultipleChoice, AutoModelForSequenceClassification, AutoTokenizer  # noqa: E402

from xscale.encoding import NLI_LABELS  # noqa: E402


def make_checkpoints() -> None:
    """Two checkpoints with untrained heads of normal weights, so that every label is predicted."""
    with tempfile.TemporaryDirectory() as temporary:
        base = make_base(Path(temporary))
        for name, seed in (("first", 1), ("second", 2)):
            torch.manual_seed(seed)
            heads = {
                "xnli": AutoModelForSequenceClassification.from_pretrained(
                    base, id2label=dict(enumerate(NLI_LABELS))
                ),
                "xcopa": AutoModelForMultipleChoice.from_pretrained(base),
            }
            for target, model in heads.items():
                for path, parameter in model.named_parameters():
                    if parameter.ndim > 1 and "embeddings" not in path:
                        torch.nn.init.normal_(parameter, std=0.5)
                model.save_pretrained(FOLDER / name / target)
                AutoTokenizer.from_pretrained(base).save_pretrained(FOLDER / name / target)


if __name__ == "__main__":
    if not FOLDER.exists():
        make_checkpoints()
    now = scores()
    if REFERENCE.exists():
        print("\n".join(changed_scores(json.loads(REFERENCE.read_text()), now)) or "no score changed")
    REFERENCE.write_text(json.dumps(now, indent=1) + "\n")
