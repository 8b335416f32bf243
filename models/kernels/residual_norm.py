"""Residual sums, gates and modulated LayerNorm in one pass over the tokens.

The references are `modulate` and the sums of `sana_stream.models.transformer_block`.
"""

from __future__ import annotations

import torch
import triton  # type: ignore[import-not-found] - comes with CUDA builds of torch
import triton.language as tl  # type: ignore[import-not-found]
from torch import Tensor

from sana_stream.models.fp8 import FP8

from .launch import launch, power_of_two

TILE = 4096  # elements of one program: one token of a large model, several of a small one
WARPS = 8


@triton.jit
def _modulation(table, row, channel, inside):
    value = tl.load(table + row[:, None] + channel[None, :], mask=inside, other=0.0)
    return value.to(tl.float32)


@triton.jit
def store_fp8(at, value, largest, inside):
    """Store rows divided by the scale of their largest element, which is returned."""
    largest = tl.maximum(largest, 1e-12)
    value *= (448.0 / largest)[:, None]
    tl.store(at, value.to(at.dtype.element_ty), mask=inside)
    return largest / 448.0


@triton.jit(do_not_specialize=["rows", "frames", "tokens"])
def residual_norm_kernel(
    x, branch, gate, shift, scale, total, normed, row_scale, rows, frames, tokens,
    gate_batch, gate_frame, shift_batch, shift_frame, eps,
    D: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, HAS_BRANCH: tl.constexpr,
    HAS_GATE: tl.constexpr, HAS_NORM: tl.constexpr, QUANTIZE: tl.constexpr,
):  # fmt: skip
    """ROWS tokens: total = x + gate * branch; normed = LayerNorm(total) * (1 + scale) + shift.

    x, branch, total, normed (B, T, P, D); gate, shift, scale (B, T or 1, 1, D). The norm is that
    of the total as it is stored, rounded. With QUANTIZE normed is fp8, with a scale for each row;
    without a norm it is then the total.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    batch, frame = row // (frames * tokens), (row // tokens) % frames
    channel = tl.arange(0, WIDTH)
    inside = (row < rows)[:, None] & (channel < D)[None, :]
    at = row[:, None] * D + channel[None, :]
    value = tl.load(x + at, mask=inside, other=0.0)
    if HAS_BRANCH:
        added = tl.load(branch + at, mask=inside, other=0.0).to(tl.float32)
        if HAS_GATE:
            added *= _modulation(gate, batch * gate_batch + frame * gate_frame, channel, inside)
        value = (value.to(tl.float32) + added).to(x.dtype.element_ty)
        tl.store(total + at, value, mask=inside)
    result = value.to(tl.float32)
    if HAS_NORM:
        mean = tl.sum(result, axis=1) / D
        centred = tl.where(inside, result - mean[:, None], 0.0)
        deviation = tl.sqrt(tl.sum(centred * centred, axis=1) / D + eps)
        place = batch * shift_batch + frame * shift_frame
        factor = 1.0 + _modulation(scale, place, channel, inside)
        offset = _modulation(shift, place, channel, inside)
        result = centred / deviation[:, None] * factor + offset
    if QUANTIZE:
        largest = store_fp8(normed + at, result, tl.max(tl.abs(result), axis=1), inside)
        tl.store(row_scale + row, largest, mask=row < rows)
    elif HAS_NORM:
        tl.store(normed + at, result.to(normed.dtype.element_ty), mask=inside)


def run_residual_norm(
    x: Tensor,
    branch: Tensor | None = None,
    gate: Tensor | None = None,
    modulation: tuple[Tensor, Tensor] | None = None,
    eps: float = 0.0,
    *,
    quantize: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the kernel for what is given; the results of what is not are `x` itself.

    Returns:
        The sum, its norm, and the scales of the norm's rows, float32 (B, T, P, 1), where it is
        quantized. Without a norm the sum is quantized.
    """
    x = x.contiguous()
    branch = None if branch is None else branch.contiguous()
    shift, scale = modulation or (x, x)
    total = x if branch is None else torch.empty_like(x)
    normed, row_scale = (x if modulation is None else torch.empty_like(x)), x
    if quantize:
        normed = torch.empty_like(x, dtype=FP8)
        row_scale = x.new_empty((*x.shape[:-1], 1), dtype=torch.float32)
    batch, frames, tokens, width = x.shape
    size = power_of_two(width)
    rows, at_once = batch * frames * tokens, max(1, TILE // size)
    launch(
        x, residual_norm_kernel, (triton.cdiv(rows, at_once),),
        x, x if branch is None else branch, x if gate is None else gate, shift, scale,
        total, normed, row_scale, rows, frames, tokens,
        *_strides(gate), *_strides(modulation and shift), eps,
        D=width, WIDTH=size, ROWS=at_once,
        HAS_BRANCH=branch is not None, HAS_GATE=gate is not None,
        HAS_NORM=modulation is not None, QUANTIZE=quantize, num_warps=WARPS,
    )  # fmt: skip
    return total, normed, row_scale


def _strides(table: Tensor | None) -> tuple[int, int]:
    """Strides of batch and frame of a modulation (B, T or 1, 1, D); one for all frames has 0."""
    if table is None:
        return 0, 0
    return table.stride(0), table.stride(1) if table.shape[1] > 1 else 0


@torch.library.custom_op("sana_stream::gated_sum", mutates_args=())
def gated_sum(x: Tensor, branch: Tensor, gate: Tensor) -> Tensor:
    """Compute `x + gate * branch`: tokens (B, T, P, D), gate (B, T or 1, 1, D)."""
    return run_residual_norm(x, branch, gate)[0]


@gated_sum.register_fake
def _(x: Tensor, branch: Tensor, gate: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op("sana_stream::modulated_norm", mutates_args=())
def modulated_norm(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    """Compute `LayerNorm(x) * (1 + scale) + shift`: shift and scale (B, T or 1, 1, D)."""
    return run_residual_norm(x, modulation=same_strides(shift, scale), eps=eps)[1]


@modulated_norm.register_fake
def _(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op("sana_stream::sum_norm", mutates_args=())
def sum_norm(
    x: Tensor, branch: Tensor, gate: Tensor | None, shift: Tensor, scale: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Compute `x + gate * branch` and its `modulated_norm`; without a gate it is 1."""
    return run_residual_norm(x, branch, gate, same_strides(shift, scale), eps)[:2]


@sum_norm.register_fake
def _(
    x: Tensor, branch: Tensor, gate: Tensor | None, shift: Tensor, scale: Tensor, eps: float
) -> tuple[Tensor, Tensor]:  # fmt: skip
    return x.new_empty(x.shape), x.new_empty(x.shape)


def same_strides(shift: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Both tables in one layout, so that the kernel takes one pair of strides."""
    if shift.stride() != scale.stride() or shift.stride(-1) != 1:
        return shift.contiguous(), scale.contiguous()
    return shift, scale
