"""The middle of the feed-forward in one kernel: SiLU, depthwise convolution, bias, gate.

The reference is `FeedForward.expand`, `conv_depth` and the gate of `FeedForward.project`.
"""

from __future__ import annotations

import torch
import triton  # type: ignore[import-not-found] - comes with CUDA builds of torch
import triton.language as tl  # type: ignore[import-not-found]
from torch import Tensor

from .launch import launch

COLUMNS, CHANNELS, WARPS = 8, 64, 4  # of one program's tile


@triton.jit
def _silu_tile(x, pixel, inside, channel, row_width):
    at = pixel[:, None] * row_width + channel[None, :]
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    return value * tl.sigmoid(value)  # 0 outside, as the padding


@triton.jit
def _tap(weight, number, channel, valid, row_width):
    at = number * row_width + channel
    return tl.load(weight + at, mask=valid, other=0.0).to(tl.float32)[None, :]


@triton.jit
def gated_depthwise_kernel(
    x, weight, bias, out, height, width, C: tl.constexpr,
    COLUMNS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Walk down the rows of one frame, for a tile of columns and the same channels of both halves.

    x (n, h, w, 2C) before its SiLU, weight (9, 2C), bias (2C), out (n, h, w, C). Three rows of
    results are held: each input row adds to the one above, its own and the one below.
    """
    frame = tl.program_id(0).to(tl.int64) * height * width
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    valid = channel < C
    x += frame * (2 * C)
    out += frame * C
    value_bias = tl.load(bias + channel, mask=valid, other=0.0).to(tl.float32)[None, :]
    gate_bias = tl.load(bias + C + channel, mask=valid, other=0.0).to(tl.float32)[None, :]
    zero = tl.zeros((COLUMNS, CHANNELS), tl.float32)
    value_above, gate_above, value_here, gate_here = zero, zero, zero, zero
    for row in range(0, height + 1):
        value_below, gate_below = zero, zero
        if row < height:
            for step in tl.static_range(3):  # type: ignore[attr-defined]
                at = column + step - 1
                inside = ((at >= 0) & (at < width))[:, None] & valid[None, :]
                pixel = row * width + at
                value = _silu_tile(x, pixel, inside, channel, 2 * C)
                gate = _silu_tile(x, pixel, inside, C + channel, 2 * C)
                value_above += value * _tap(weight, 6 + step, channel, valid, 2 * C)
                value_here += value * _tap(weight, 3 + step, channel, valid, 2 * C)
                value_below += value * _tap(weight, step, channel, valid, 2 * C)
                gate_above += gate * _tap(weight, 6 + step, C + channel, valid, 2 * C)
                gate_here += gate * _tap(weight, 3 + step, C + channel, valid, 2 * C)
                gate_below += gate * _tap(weight, step, C + channel, valid, 2 * C)
        if row > 0:
            gate = gate_above + gate_bias
            result = (value_above + value_bias) * gate * tl.sigmoid(gate)
            at = ((row - 1) * width + column)[:, None] * C + channel[None, :]
            inside = (column < width)[:, None] & valid[None, :]
            tl.store(out + at, result.to(out.dtype.element_ty), mask=inside)
        value_above, gate_above = value_here, gate_here
        value_here, gate_here = value_below, gate_below


@torch.library.custom_op("sana_stream::gated_depthwise", mutates_args=())
def gated_depthwise(x: Tensor, weight: Tensor, bias: Tensor, height: int, width: int) -> Tensor:
    """SiLU, 3x3 depthwise convolution with zero padding, bias, and gate.

    Args:
        x: tokens (n, P, 2C) of n frames, P = height * width.
        weight, bias: of the convolution, (2C, 1, 3, 3) and (2C,).
        height, width: token rows and columns.

    Returns:
        (n, P, C): the first half of the channels times the SiLU of the second.
    """
    frames, tokens, both = x.shape
    out = x.new_empty((frames, tokens, both // 2))
    taps = weight.flatten(1).t().contiguous()  # (9, 2C): channels adjacent
    grid = (frames, triton.cdiv(width, COLUMNS), triton.cdiv(both // 2, CHANNELS))
    launch(
        x, gated_depthwise_kernel, grid,
        x.contiguous(), taps, bias, out, height, width, C=both // 2,
        COLUMNS=COLUMNS, CHANNELS=CHANNELS, num_warps=WARPS,
    )  # fmt: skip
    return out


@gated_depthwise.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, height: int, width: int) -> Tensor:
    return x.new_empty((*x.shape[:2], x.shape[2] // 2))
