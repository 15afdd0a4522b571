"""Low-rank adapters (peft): a model with adapters, how they are written, and how a checkpoint of them is read.

A head folder with adapters has config.json (`xscale_base` names the base), tokenizer, adapter_config.json and
adapter_model.safetensors: the adapters, and whole the layers that the base does not have.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from xscale.base_models import base_content, resolve_base
from xscale.errors import UserError
from xscale.experiment import LoRA

ADAPTER_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"


def with_adapters(model: Any, lora: LoRA, seed: int, start: Path | None = None, heads: bool = True) -> Any:
    """A peft model: the base's weights are frozen, the adapters and the head are trained (not a language model's own: `heads`
    is False).

    `start`: a folder whose adapters (and pooler, where both have one) it begins with, instead of new ones, which leave the
    model's answers as they are. Raises `UserError` when peft is not installed, or no layer has one of the names.
    """
    peft = _peft()
    base = model.base_model
    whole = [
        name
        for name, child in model.named_children()
        if child is not base and any(True for _ in child.parameters())
    ]
    if getattr(base, "pooler", None) is not None:
        whole.append("pooler")
    torch.manual_seed(seed)
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.modules,
        modules_to_save=sorted(set(whole)) if heads else None,
    )
    try:
        adapted = peft.get_peft_model(model, config)
    except ValueError as error:
        raise UserError(
            f"lora.modules: {str(error).splitlines()[0]}; name linear layers of the base"
        ) from None
    if start is not None:
        from safetensors.torch import load_file

        stored = load_file(start / _WEIGHTS)
        inside = f"base_model.model.{model.base_model_prefix}."
        mine = peft.get_peft_model_state_dict(adapted)
        kept = {name: tensor for name, tensor in stored.items() if name.startswith(inside) and name in mine}
        peft.set_peft_model_state_dict(adapted, mine | kept)
    return adapted


def check_adapters(model: Any, lora: LoRA, base: str) -> None:
    """Raise `UserError` where the base has no layers of the names, or adapters of the rank would be no smaller than the layers.

    `model`: the base, which may be without weights.
    """
    shapes = {name: tuple(layer.weight.shape) for name, layer in model.named_modules() if _is_linear(layer)}
    if lora.modules is None:
        known = _peft().utils.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
        wanted = known.get(model.config.model_type)
        if not wanted:
            raise UserError(
                f"lora: peft knows no query and value layers of {model.config.model_type} models; name layers in lora.modules"
            )
    else:
        wanted = lora.modules
    for module in wanted:
        mine = [shape for name, shape in shapes.items() if name == module or name.endswith(f".{module}")]
        if not mine and lora.modules is not None:
            last = ", ".join(sorted({name.rpartition(".")[2] for name in shapes}))
            raise UserError(f"lora.modules: base {base!r} has no linear layer {module!r}; it has: {last}")
        if mine and lora.rank > min(map(min, mine)):
            raise UserError(
                f"lora.rank: {lora.rank} is more than the {min(map(min, mine))} of the layer {module!r} of {base!r}; lower it"
            )


def _is_linear(layer: Any) -> bool:
    return isinstance(layer, torch.nn.Linear) or type(layer).__name__ == "Conv1D"  # GPT-2's


def save_adapters(adapted: Any, tokenizer: Any, folder: Path, base: str) -> None:
    """Write the adapters, the head, config and tokenizer; `base` is the base model's name as experiments have it."""
    adapted.peft_config["default"].base_model_name_or_path = base
    adapted.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = adapted.get_base_model().config
    config.xscale_base, config.xscale_base_content = base, base_content(base)
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    file = folder / ADAPTER_CONFIG  # its lists come from sets: in order, equal adapters have equal files
    fields = {k: sorted(v) if isinstance(v, list) else v for k, v in json.loads(file.read_text()).items()}
    file.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")


def load_adapted(folder: Path, model_class: Any) -> Any:
    """The base with the folder's adapters merged in, and its head: an ordinary model in fp32, in evaluation mode.

    Raises `UserError` when peft is not installed, or the base is not named or cannot be had.
    """
    from transformers import AutoConfig

    peft = _peft()
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    base = getattr(config, "xscale_base", None)
    if not isinstance(base, str):
        raise UserError(
            f"checkpoint {folder}: config.json does not name its base (xscale_base); train it again"
        )
    trained = getattr(config, "xscale_base_content", None)
    if trained is not None and trained != base_content(base):
        raise UserError(
            f"checkpoint {folder}: its base {base!r} has other files than when it was trained; restore them, or train it again"
        )
    try:
        model = model_class.from_pretrained(
            resolve_base(base),
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except OSError as error:
        raise UserError(f"checkpoint {folder}: its base {base!r}: {str(error).splitlines()[0]}") from None
    return peft.PeftModel.from_pretrained(model, folder).merge_and_unload().eval()


def _peft() -> Any:
    try:
        import peft
    except ImportError:
        raise UserError("lora: peft is not installed; pip install 'xscale[lora]'") from None
    return peft
