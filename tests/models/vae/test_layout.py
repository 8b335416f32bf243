"""Memory layouts of the decoders on real tensors: every convolution's input, and every tail."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode

from sana_stream.models.vae.config import WanVAEConfig
from sana_stream.models.vae.layout import LAYOUTS, set_channels_last
from sana_stream.models.vae.streaming import VAECache
from sana_stream.models.vae.taehv import TAEHVDecoder
from sana_stream.models.vae.wan import WanVAE

from .ltx2_pairs import causal_pair
from .test_wan import WAN21

PIECES = {"ones": [1] * 4, "twos": [2, 2], "whole": [4], "mixed": [1, 3]}
CONVOLUTIONS = ("convolution", "mkldnn_convolution", "_convolution")


def is_canonical(tensor: Tensor) -> bool:
    """Whether the strides are exactly those that torch gives a new channels-last tensor."""
    made = torch.empty(tensor.shape, device="meta").to(memory_format=LAYOUTS[tensor.ndim])
    return tensor.stride() == made.stride()


class Convolutions(TorchDispatchMode):
    """Records the inputs of convolutions that are not in the channels-last layout."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.wrong: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in CONVOLUTIONS and max(args[1].shape[2:]) > 1:
            x = args[0]
            self.count += 1
            if not x.is_contiguous(memory_format=LAYOUTS[x.ndim]):
                self.wrong.append((tuple(x.shape), x.stride()))
        return func(*args, **(kwargs or {}))


def build(name: str) -> Any:
    torch.manual_seed(0)
    if name == "wan":
        vae: Any = WanVAE(WanVAEConfig.from_dict(WAN21))
    elif name == "taehv":
        vae = TAEHVDecoder()
    else:
        vae = copy.deepcopy(causal_pair("2")[1])
    set_channels_last(vae)
    return vae.eval().requires_grad_(False)


def latents_for(vae: Any, frames: int, height: int = 3, width: int = 5) -> Tensor:
    return torch.randn(1, vae.config.z_dim, frames, height, width)


def decode(vae: Any, pieces: list[int]) -> Iterator[tuple[Tensor, VAECache]]:
    cache = None
    for piece in latents_for(vae, sum(pieces)).split(pieces, dim=2):
        frames, cache = vae.decode(piece, cache)
        yield frames, cache


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("name", ["wan", "taehv", "ltx2"])
def test_convolutions_and_tails_are_channels_last(name: str, pieces: str):
    vae = build(name)
    with Convolutions() as seen:
        for number, (_, cache) in enumerate(decode(vae, PIECES[pieces])):
            assert not [tail.stride() for tail in cache.tails if not is_canonical(tail)], number
    assert seen.count > 10 * len(PIECES[pieces])
    # the first convolution's input may be the latents as they come, if it joins no frames
    assert not [form for form in seen.wrong if form[0][1] != vae.config.z_dim]


@pytest.mark.parametrize("encoded", [[1, 8, 8], [9, 16]])
@pytest.mark.parametrize("name", ["wan", "ltx2"])
def test_encoders_are_channels_last(name: str, encoded: list[int]):
    vae, cache = build(name), None
    with Convolutions() as seen:
        for frames in encoded:
            _, cache = vae.encode(torch.randn(1, 3, frames, 64, 96), cache)
            assert all(map(is_canonical, cache.tails))
    assert seen.count > 10
    assert not seen.wrong


@pytest.mark.parametrize("name", ["wan", "taehv", "ltx2"])
def test_layouts_change_no_frame_beyond_rounding(name: str):
    """Also those of a stream that begins with a piece of one latent frame."""
    vae, results = build(name), {}
    for layout in ("last", "first"):
        for pieces in ("ones", "whole"):
            torch.manual_seed(2)
            results[layout, pieces] = torch.cat([f for f, _ in decode(vae, PIECES[pieces])], dim=2)
        for weight in vae.parameters():
            weight.data = weight.data.contiguous()
    wanted = results["first", "whole"]
    for frames in results.values():
        torch.testing.assert_close(frames, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["wan", "taehv"])
def test_a_compiled_level_has_two_graphs(name: str):
    """One for the beginning of a stream and one for later pieces of the same length."""
    vae = build(name)
    level = vae.decoder.up_blocks[0] if name == "wan" else vae.decoder[3]
    x = torch.randn(1, 32, 6, 3, 5) if name == "wan" else torch.randn(1, 256, 6, 3, 5)
    torch._dynamo.reset()
    counters.clear()
    level.compile(backend="eager", dynamic=False)
    tails = None
    for piece in x.to(memory_format=torch.channels_last_3d).split([3, 1, 1, 1], dim=2):
        _, kept = level(piece.contiguous(memory_format=torch.channels_last_3d), tails)
        tails = list(kept)
    assert counters["stats"]["unique_graphs"] == 2
    assert not counters["graph_break"]
