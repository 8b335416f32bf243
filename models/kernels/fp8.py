"""Quantization to fp8 with a scale for each row, within the kernels that write the rows.

The references are those of `residual_norm` and `FeedForward.neighbours`, each followed by
`quantize_rows` of `sana_stream.models.fp8`. Results are float8_e4m3fn, and float32 scales (..., 1).
"""

from __future__ import annotations

import torch
import triton  # type: ignore[import-not-found] - comes with CUDA builds of torch
import triton.language as tl  # type: ignore[import-not-found]
from torch import Tensor

from sana_stream.models.fp8 import FP8

from .launch import launch, power_of_two
from .residual_norm import TILE, WARPS, run_residual_norm, same_strides, store_fp8


@triton.jit(do_not_specialize=["rows", "frames", "tokens"])
def neighbours_kernel(
    x, state, values, row_scale, rows, frames, tokens,
    D: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """ROWS tokens of values (B, T, P, 3D): previous, current and next frame, with one scale.

    x (B, T, P, D); state (B, P, D) precedes it, and zeros follow it.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    batch, frame = row // (frames * tokens), (row // tokens) % frames
    channel = tl.arange(0, WIDTH)
    inside = (row < rows)[:, None] & (channel < D)[None, :]
    at = row[:, None] * D + channel[None, :]
    step = tokens.to(tl.int64) * D
    place = (batch * tokens + row % tokens)[:, None] * D + channel[None, :]
    first, last = (frame == 0)[:, None], (frame == frames - 1)[:, None]
    current = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    before = tl.load(x + at - step, mask=inside & (first == 0), other=0.0).to(tl.float32)
    before += tl.load(state + place, mask=inside & first, other=0.0).to(tl.float32)
    after = tl.load(x + at + step, mask=inside & (last == 0), other=0.0).to(tl.float32)
    largest = tl.maximum(tl.maximum(tl.abs(before), tl.abs(current)), tl.abs(after))
    largest = tl.max(largest, axis=1)
    out = values + row[:, None] * (3 * D) + channel[None, :]
    store_fp8(out, before, largest, inside)
    store_fp8(out + D, current, largest, inside)
    scale = store_fp8(out + 2 * D, after, largest, inside)
    tl.store(row_scale + row, scale, mask=row < rows)


@torch.library.custom_op("sana_stream::quantize_rows", mutates_args=())
def quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize x (..., K)."""
    tokens = x.reshape(1, 1, -1, x.shape[-1])
    _, values, scale = run_residual_norm(tokens, quantize=True)
    return values.view(x.shape), scale.view(*x.shape[:-1], 1)


@quantize_rows.register_fake
def _(x: Tensor) -> tuple[Tensor, Tensor]:
    return _empty(x)


@torch.library.custom_op("sana_stream::modulated_norm_fp8", mutates_args=())
def modulated_norm_fp8(
    x: Tensor, shift: Tensor, scale: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Quantize `modulated_norm`."""
    modulation = same_strides(shift, scale)
    return run_residual_norm(x, modulation=modulation, eps=eps, quantize=True)[1:]


@modulated_norm_fp8.register_fake
def _(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return _empty(x)


@torch.library.custom_op("sana_stream::gated_sum_fp8", mutates_args=())
def gated_sum_fp8(x: Tensor, branch: Tensor, gate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `gated_sum`, and quantize it too."""
    return run_residual_norm(x, branch, gate, quantize=True)


@gated_sum_fp8.register_fake
def _(x: Tensor, branch: Tensor, gate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), *_empty(x)


@torch.library.custom_op("sana_stream::sum_norm_fp8", mutates_args=())
def sum_norm_fp8(
    x: Tensor, branch: Tensor, gate: Tensor | None, shift: Tensor, scale: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """As `sum_norm`, with a quantized norm."""
    return run_residual_norm(x, branch, gate, same_strides(shift, scale), eps, quantize=True)


@sum_norm_fp8.register_fake
def _(
    x: Tensor, branch: Tensor, gate: Tensor | None, shift: Tensor, scale: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return x.new_empty(x.shape), *_empty(x)


@torch.library.custom_op("sana_stream::neighbours_fp8", mutates_args=())
def neighbours_fp8(x: Tensor, conv_state: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize each token next to those of the previous and the next frame, with one scale.

    Args:
        x: (B, T, P, D).
        conv_state: the frame before the first, (B, P, D); zeros follow the last.

    Returns:
        (B, T, P, 3D) and (B, T, P, 1).
    """
    x, conv_state = x.contiguous(), conv_state.to(x.dtype).contiguous()
    values, scale = _empty(x, 3)
    batch, frames, tokens, width = x.shape
    size = power_of_two(width)
    rows, at_once = batch * frames * tokens, max(1, TILE // size)
    launch(
        x, neighbours_kernel, (triton.cdiv(rows, at_once),),
        x, conv_state, values, scale, rows, frames, tokens,
        D=width, WIDTH=size, ROWS=at_once, num_warps=WARPS,
    )  # fmt: skip
    return values, scale


@neighbours_fp8.register_fake
def _(x: Tensor, conv_state: Tensor) -> tuple[Tensor, Tensor]:
    return _empty(x, 3)


def _empty(x: Tensor, copies: int = 1) -> tuple[Tensor, Tensor]:
    shape = x.shape[:-1]
    values = x.new_empty((*shape, copies * x.shape[-1]), dtype=FP8)
    return values, x.new_empty((*shape, 1), dtype=torch.float32)
