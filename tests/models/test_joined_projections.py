"""Query, key and value projections stored as one matrix stay the parameters that they were."""

from __future__ import annotations

import pytest
import torch

from sana_stream.models.attention import SelfAttention
from sana_stream.models.config import TransformerConfig
from sana_stream.models.fp8 import FP8, Fp8Linear, quantize_rows


def build(bias: bool) -> SelfAttention:
    config = TransformerConfig(
        num_attention_heads=2,
        attention_head_dim=6,
        cross_attention_dim=12,
        attention_bias=bias,
    )
    return SelfAttention(config).requires_grad_(False)


@pytest.fixture(params=[False, True], ids=["plain", "biases"])
def attention(request: pytest.FixtureRequest) -> SelfAttention:
    return build(request.param)


def quantize(layer: SelfAttention, *names: str) -> None:
    for name in names:
        linear = getattr(layer, name)
        setattr(layer, name, Fp8Linear(linear.weight, linear.bias))


def joined(layer: SelfAttention, x: torch.Tensor) -> torch.Tensor:
    assert layer._joined is not None
    return layer._product(x, *layer._joined)


def apart(layer: SelfAttention, x: torch.Tensor) -> torch.Tensor:
    return torch.cat([part(x) for part in (layer.to_q, layer.to_k, layer.to_v)], dim=-1)


def test_one_product_equals_three_and_follows_changed_weights(attention: SelfAttention):
    x = torch.randn(1, 5, 12)
    before = {name: tensor.clone() for name, tensor in attention.state_dict().items()}
    expected = apart(attention, x)
    attention.join_projections()
    assert torch.allclose(joined(attention, x), expected, atol=1e-6)
    after = attention.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    attention.to_k.weight.data.copy_(torch.randn(12, 12))  # as a LoRA is merged
    attention.load_state_dict(attention.state_dict() | {"to_q.weight": torch.randn(12, 12)})
    assert torch.allclose(joined(attention, x), apart(attention, x), atol=1e-6)
    assert not torch.allclose(apart(attention, x), expected)


@pytest.mark.parametrize("bias", [False, True])
def test_one_fp8_product_equals_three(bias: bool, monkeypatch: pytest.MonkeyPatch):
    attention, cat = build(bias), torch.cat
    quantize(attention, "to_q", "to_k", "to_v")
    rows = quantize_rows(torch.randn(1, 5, 12))
    expected = cat([part(rows) for part in (attention.to_q, attention.to_k, attention.to_v)], -1)

    def without_fp8(tensors: list[torch.Tensor]) -> torch.Tensor:
        assert all(tensor.dtype != FP8 for tensor in tensors)  # as torch on CUDA
        return cat(tensors)

    monkeypatch.setattr(torch, "cat", without_fp8)
    attention.join_projections()
    assert attention._joined is not None
    assert torch.allclose(attention._product(rows, *attention._joined), expected, atol=1e-6)


def test_projections_of_which_some_are_fp8_stay_apart(attention: SelfAttention):
    quantize(attention, "to_q")
    attention.join_projections()
    assert attention._joined is None


def test_joined_weights_are_stored_once(attention: SelfAttention):
    attention.join_projections()
    memory = {
        part.weight.untyped_storage().data_ptr()
        for part in (attention.to_q, attention.to_k, attention.to_v)
    }
    assert len(memory) == 1


def test_converted_weights_are_used(attention: SelfAttention):
    attention.join_projections()
    attention.to(torch.float64)
    assert attention._joined is None
