"""Checkpoints of a few thousand random weights, and what is evaluated of them."""

from pathlib import Path

SELECTION = {"xnli": (("en", "de", "sw"), 20), "xcopa": (("en", "qu"), 14)}


def make_checkpoint(folder: Path, base: Path, seed: int = 1) -> Path:
    """Heads for both targets over `base`, with random weights large enough for predictions of every class."""
    import torch
    from transformers import AutoModelForMultipleChoice, AutoModelForSequenceClassification, AutoTokenizer

    from harness_tasks.rows import Options, build_documents
    from xscale.encoding import NLI_LABELS

    torch.manual_seed(seed)
    for target, model_class, extra in (
        ("xnli", AutoModelForSequenceClassification, {"id2label": dict(enumerate(NLI_LABELS))}),
        ("xcopa", AutoModelForMultipleChoice, {}),
    ):
        model = model_class.from_pretrained(base, **extra)
        for parameter in model.parameters():
            if parameter.dim() == 2 and parameter.shape[0] < 1000:
                torch.nn.init.normal_(parameter, std=0.5)
        tokenizer = AutoTokenizer.from_pretrained(base)
        if (
            target == "xnli"
        ):  # its biases take away what all texts have in common, so that every class is predicted
            documents = build_documents(target, "en", "test", Options(data="bundled"))[:40]
            pairs = [(document["premise"], document["hypothesis"]) for document in documents]
            with torch.no_grad():
                logits = model.eval()(**tokenizer(pairs, padding=True, return_tensors="pt")).logits
                getattr(model.classifier, "out_proj", model.classifier).bias -= logits.mean(0)
        model.save_pretrained(folder / target)
        tokenizer.save_pretrained(folder / target)
    return folder
