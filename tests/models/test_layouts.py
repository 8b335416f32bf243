"""Tensors inside the transformer lie in memory as the kernels read them, with no copy between."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sana_stream.engine.engine import Engine
from sana_stream.models.memory_policy import parse_memory_policy
from sana_stream.models.state import StreamState
from sana_stream.models.transformer import SanaVideoTransformer
from sana_stream.models.weights.load import load_transformer

from .test_transformer import build, empty, inputs, relative_error


def token_inputs(model: SanaVideoTransformer) -> list[tuple[str, Tensor]]:
    """Collect what every module inside the layers is called with, as tokens of width D."""
    seen: list[tuple[str, Tensor]] = []

    def note(name: str):
        def hook(_: nn.Module, args: tuple[object, ...]) -> None:
            seen.extend((name, arg) for arg in args[:1] if isinstance(arg, Tensor))

        return hook

    for name, module in model.transformer_blocks.named_modules():
        if name:
            module.register_forward_pre_hook(note(name))
    return seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("frames", [1, 2, 11])
@torch.no_grad()
def test_tokens_are_contiguous_at_every_layer(frames: int, dtype: torch.dtype):
    _, ours = build(num_layers=3)
    ours.to(dtype)
    latents, embeds, mask = inputs(ours, 1, frames, 4, 6)
    text = ours.prepare_text(embeds, mask)
    policy = parse_memory_policy("cumulative")
    past = StreamState.empty(ours.config, policy, ours.grid(4, 6), dtype).past()
    seen = token_inputs(ours)
    ours.denoise(latents, torch.tensor([900.0]), text, past, 0)
    ours.commit(latents, text, past, 0)
    names = {name.partition(".")[2] for name, _ in seen}
    assert {"", "attn1", "attn1.to_q", "attn2", "attn2.to_q", "ff"} <= names
    for name, x in seen:
        order = x.permute(0, 2, 3, 1) if name.endswith("conv_depth") else x  # channels last
        assert order.is_contiguous(), f"{name}: {tuple(x.shape)}, strides {x.stride()}"


def test_temporal_weights_are_loaded_in_the_form_that_they_are_used_in(
    tiny_folder: Path, tiny_engine: Engine
):
    device = torch.device("cpu")
    for model in (
        tiny_engine.transformer,
        load_transformer(tiny_folder, torch.bfloat16, device),
    ):
        assert isinstance(model, SanaVideoTransformer)
        for layer in model.layers:
            weight = layer.ff.conv_temp.weight
            assert layer.ff.temporal_matrix().data_ptr() == weight.data_ptr()


@torch.no_grad()
def test_text_without_padding_has_no_bias():
    _, ours = build()
    latents, embeds, mask = inputs(ours, 1, 2, 4, 4)
    past = empty(ours, latents).past()
    plain = ours.prepare_text(embeds, mask)
    assert plain.bias is None
    assert plain.keys[0].shape[2] == 5
    padded = ours.prepare_text(embeds, mask, keep_padding=True)
    holed = ours.prepare_text(embeds, torch.tensor([[1, 0, 1, 0, 0, 0, 0, 0, 0]]))
    assert padded.bias is not None
    assert holed.bias is not None
    time = torch.tensor([900.0])
    expected = ours.denoise(latents, time, padded, past, 0)
    assert relative_error(ours.denoise(latents, time, plain, past, 0), expected) < 1e-5
