"""Dropout drawn in bulk: the right share, scaled, the same mask in the backward pass, decided by its seed alone."""

from __future__ import annotations

import pytest
import torch

from xscale.training.dropout import BulkDropout


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_elements_are_dropped_in_their_share_and_the_others_scaled(p: float, dtype: torch.dtype) -> None:
    x = torch.ones(301, 1003, dtype=dtype, requires_grad=True)
    with BulkDropout([1, 2]):
        y = torch.nn.Dropout(p)(x)
    assert y.dtype == dtype
    share = (y == 0).double().mean().item()
    assert abs(share - p) < 5 * (p * (1 - p) / x.numel()) ** 0.5
    assert torch.unique(y.detach()).tolist() == pytest.approx(
        [0, 1 / (1 - p)], rel=1e-4 if dtype == torch.float32 else 5e-3
    )
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())  # the gradient of y = x * mask at x = 1
    for part in (y == 0).double().detach().split(100):  # no rows or columns that are dropped together
        assert abs(part.mean().item() - p) < 0.02
    columns = (y == 0).double().mean(0)
    assert columns.std().item() == pytest.approx((p * (1 - p) / 301) ** 0.5, rel=0.15)


def test_a_seed_is_one_mask_after_the_other_and_nothing_else_is_touched() -> None:
    def masks(seed: list[int]) -> list[torch.Tensor]:
        with BulkDropout(seed):
            return [torch.nn.functional.dropout(torch.ones(64, 65), 0.3) for _ in range(2)]

    before = torch.get_rng_state()
    first, again, other = masks([1, 2]), masks([1, 2]), masks([1, 3])
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], first[1]) and not torch.equal(first[0], other[0])
    assert torch.equal(before, torch.get_rng_state())
    x = torch.ones(8)
    with BulkDropout([1]):
        assert torch.nn.functional.dropout(x, 0.5, training=False) is x
        assert torch.nn.Dropout(0.0)(x) is x and (torch.nn.Dropout(1.0)(x) == 0).all()
        assert torch.equal(torch.nn.Dropout(0.5).eval()(x), x)


def test_attention_and_layers_of_a_model_drop_by_it() -> None:
    """Every dropout of a BERT in training mode: embeddings, attention's probabilities, two a layer, the head's."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    config._attn_implementation = "eager"
    model = BertForSequenceClassification(config).train()
    counted: list[tuple[int, ...]] = []

    class Counting(BulkDropout):
        def _dropout(self, input: torch.Tensor, *rest: object, **named: object) -> torch.Tensor:
            counted.append(tuple(input.shape))
            return super()._dropout(input, *rest, **named)  # type: ignore[arg-type]

    before = torch.get_rng_state()
    with Counting([1]):
        model(input_ids=torch.tensor([[2, 5, 6, 3]])).logits.sum().backward()
    assert torch.equal(before, torch.get_rng_state())  # nobody drew PyTorch's numbers
    assert counted.count((1, 2, 4, 4)) == 2 and counted.count((1, 4, 32)) == 5 and counted.count((1, 32)) == 1
