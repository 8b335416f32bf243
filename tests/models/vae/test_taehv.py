"""The TAEHV decoder against its definition frame by frame, and for any split of a stream."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sana_stream.errors import CheckpointError, ConfigError
from sana_stream.models.vae.taehv import TAEHVDecoder

FRAMES = 5
MEMORY, UPSAMPLE, GROW, CONV = "memory", "upsample", "grow", "conv"
# The published file's layers by number, as used by the definition below.
LAYERS = {1: CONV, 22: CONV} | {
    6 * level + 3 + i: kind
    for level in range(3)
    for i, kind in enumerate((MEMORY, MEMORY, MEMORY, UPSAMPLE, GROW, CONV))
}


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """A checkpoint in the published layout: numbered layers, and an encoder."""
    torch.manual_seed(0)
    tensors = {"encoder.0.weight": torch.zeros(1)}
    widths = {1: (16, 256), 8: (256, 128), 14: (128, 64), 20: (64, 64), 22: (64, 3)}
    for number, kind in LAYERS.items():
        dim = 256 if number < 9 else 128 if number < 15 else 64
        name = f"decoder.{number}"
        if kind == CONV:
            fan_in, fan_out = widths[number]
            tensors[f"{name}.weight"] = torch.randn(fan_out, fan_in, 3, 3) / (3 * fan_in**0.5)
            if number in (1, 22):
                tensors[f"{name}.bias"] = torch.randn(fan_out) / 10
        elif kind == MEMORY:
            for part, fan_in in ((0, 2 * dim), (2, dim), (4, dim)):
                weight = torch.randn(dim, fan_in, 3, 3) / (3 * fan_in**0.5)
                tensors[f"{name}.conv.{part}.weight"] = weight
                tensors[f"{name}.conv.{part}.bias"] = torch.randn(dim) / 10
        elif kind == GROW:
            stride = 1 if number == 7 else 2
            tensors[f"{name}.conv.weight"] = torch.randn(dim * stride, dim, 1, 1) / dim**0.5
    return tensors


@pytest.fixture(scope="module")
def decoder(published: dict[str, torch.Tensor]) -> TAEHVDecoder:
    model = TAEHVDecoder()
    model.load_published(published)
    return model.eval()


@pytest.fixture(scope="module")
def latents() -> torch.Tensor:
    return torch.randn(1, 16, FRAMES, 2, 3, generator=torch.Generator().manual_seed(1))


def definition(tensors: dict[str, torch.Tensor], latents: torch.Tensor) -> torch.Tensor:
    """Decode each frame alone, in order, with the memory blocks' previous input."""
    memory: dict[int, torch.Tensor] = {}

    def walk(x: torch.Tensor, number: int) -> list[torch.Tensor]:
        if number == 23:
            return [x.clamp(0, 1) * 2 - 1]
        kind, name = LAYERS.get(number), f"decoder.{number}"
        if kind == MEMORY:
            before, memory[number] = memory.get(number, torch.zeros_like(x)), x
            y = torch.cat((x, before), dim=1)
            for part in (0, 2, 4):
                weight, bias = (tensors[f"{name}.conv.{part}.{p}"] for p in ("weight", "bias"))
                y = F.conv2d(y if part == 0 else F.relu(y), weight, bias, padding=1)
            x = F.relu(y + x)
        elif kind == UPSAMPLE:
            x = F.interpolate(x, scale_factor=2)
        elif kind == GROW:
            grown = F.conv2d(x, tensors[f"{name}.conv.weight"])
            return [p for part in grown.split(x.shape[1], dim=1) for p in walk(part, number + 1)]
        elif kind == CONV:
            x = F.conv2d(x, tensors[f"{name}.weight"], tensors.get(f"{name}.bias"), padding=1)
        elif number == 0:
            x = 3 * torch.tanh(x / 3)
        else:
            x = F.relu(x)
        return walk(x, number + 1)

    frames = [p for frame in latents.unbind(2) for p in walk(frame, 0)]
    return torch.stack(frames[3:], dim=2)


@torch.no_grad()
def test_taehv_decode_equals_its_definition(
    published: dict[str, torch.Tensor], decoder: TAEHVDecoder, latents: torch.Tensor
):
    frames, _ = decoder.decode(latents)
    expected = definition(published, latents)
    assert frames.shape == (1, 3, 1 + 4 * (FRAMES - 1), 16, 24)
    torch.testing.assert_close(frames, expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=6, deadline=None)
@given(cuts=st.sets(st.integers(1, FRAMES - 1)))
@torch.no_grad()
def test_taehv_decode_is_independent_of_splits(
    decoder: TAEHVDecoder, latents: torch.Tensor, cuts: set[int]
):
    whole, cache = decoder.decode(latents)
    parts, kept = [], None
    for part in latents.tensor_split(sorted(cuts), dim=2):
        frames, kept = decoder.decode(part, kept)
        parts.append(frames)
        assert kept.nbytes == cache.nbytes
    torch.testing.assert_close(torch.cat(parts, dim=2), whole, rtol=1e-4, atol=1e-5)


def test_taehv_load_of_other_layout_raises(published: dict[str, torch.Tensor]):
    lacking = {name: t for name, t in published.items() if name != "decoder.22.bias"}
    with pytest.raises(CheckpointError, match=r"decoder\.22\.bias missing or unknown"):
        TAEHVDecoder().load_published(lacking)
    wider = published | {"decoder.1.weight": torch.zeros(256, 48, 3, 3)}
    with pytest.raises(CheckpointError, match=r"decoder\.1\.weight has shape \(256, 48, 3, 3\)"):
        TAEHVDecoder().load_published(wider)


def test_cache_of_another_stream_is_refused(decoder: TAEHVDecoder, latents: torch.Tensor):
    with torch.no_grad():
        _, cache = decoder.decode(latents)
        with pytest.raises(ConfigError, match="the cache belongs to a stream of"):
            decoder.decode(latents[..., :2], cache)
