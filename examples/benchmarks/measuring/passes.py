"""Probe of passes over memory at the 2B shapes: feed-forward, residual stream, upsampling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from measuring.products import MIXED, TOKENS, WIDTH
from measuring.timing import Bench

FRAMES, ROWS, COLUMNS = 10, 30, 52  # tokens of a block
BFLOAT16 = 2  # bytes


def probe_passes(bench: Bench) -> None:
    """Measure what the transformer and the decoder do besides products and convolutions."""
    _feed_forward(bench)
    _temporal(bench)
    _residual_stream(bench)
    _upsampling(bench)


def _feed_forward(bench: Bench) -> None:
    rows, columns, mixed = (6, 8, 832) if bench.small else (ROWS, COLUMNS, MIXED)
    x = bench.tensor(FRAMES, rows, columns, mixed).permute(0, 3, 1, 2)  # channels last
    first = x.contiguous()
    weight, bias = bench.tensor(mixed, 1, 3, 3), bench.tensor(mixed)
    moved = 2 * BFLOAT16 * x.numel()
    deep = "depthwise, channels"

    def depthwise(x: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight, bias, padding=1, groups=mixed)

    def gate() -> Tensor:
        value, gate = x.permute(0, 2, 3, 1).chunk(2, -1)
        return value * F.silu(gate)

    bench.row("passes", "SiLU", lambda: F.silu(x), moved=moved)
    bench.row("passes", f"{deep} last, bias", lambda: depthwise(x, bias), moved=moved)
    bench.row("passes", f"{deep} last", lambda: depthwise(x, None), moved=moved)
    bench.row("passes", f"{deep} first, bias", lambda: depthwise(first, bias), moved=moved)
    bench.row("passes", f"{deep} first", lambda: depthwise(first, None), moved=moved)
    bench.row("passes", "gate", gate, moved=moved * 3 // 4)


def _temporal(bench: Bench) -> None:
    tokens, width = (48, 128) if bench.small else (ROWS * COLUMNS, WIDTH)
    x = bench.tensor(1, FRAMES + 2, tokens, width).permute(0, 3, 1, 2)
    weight = bench.tensor(width, width, 3, 1).contiguous(memory_format=torch.channels_last)
    flop = 2 * FRAMES * tokens * 3 * width**2
    bench.row("passes", "temporal convolution as conv2d", lambda: F.conv2d(x, weight), flop)


def _residual_stream(bench: Bench) -> None:
    tokens, width = (480, 128) if bench.small else (TOKENS, WIDTH)
    last = bench.tensor(tokens, width)
    first = bench.tensor(width, tokens).t()  # the same shape, channel-major
    size = BFLOAT16 * tokens * width

    def norm(x: Tensor) -> Tensor:
        return F.layer_norm(x, (width,))

    bench.row("passes", "residual add, token-major", lambda: last + last, moved=3 * size)
    bench.row("passes", "residual add, one channel-major", lambda: first + last, moved=3 * size)
    bench.row("passes", "LayerNorm, token-major", lambda: norm(last), moved=2 * size)
    bench.row("passes", "LayerNorm, channel-major", lambda: norm(first), moved=2 * size)


def _upsampling(bench: Bench) -> None:
    channels, rows, columns = (16, 30, 52) if bench.small else (192, 240, 416)
    last = bench.tensor(4, channels, rows, columns).contiguous(memory_format=torch.channels_last)
    first = last.contiguous()
    weight, folded = (
        bench.tensor(channels // 2, channels, 3, 3),
        bench.tensor(2 * channels, channels, 2, 2),
    )
    weight, folded = (w.contiguous(memory_format=torch.channels_last) for w in (weight, folded))
    moved = 5 * BFLOAT16 * last.numel()  # four times the pixels are written

    def double(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="nearest-exact")

    def convolved() -> Tensor:
        return F.conv2d(double(last), weight, padding=1)

    def transposed() -> Tensor:
        return F.pixel_shuffle(F.conv2d(F.pad(last, (0, 1, 0, 1)), folded), 2)

    bench.row("passes", "upsampling, channels last", lambda: double(last), moved=moved)
    bench.row("passes", "upsampling, channels first", lambda: double(first), moved=moved)
    bench.row("passes", "upsampling and its convolution", convolved)
    bench.row("passes", "upsampling, both as one 2x2 convolution", transposed)
