"""RMSNorm and SiLU of the decoders in one pass, with the frames before and the biases around them.

The references are `RMSNorm`, `ResidualBlock` and `join_frames` of `sana_stream.models.vae`. Clips
are (B, C, T, H, W) in the channels-last layout: a pixel's channels are adjacent.
"""

from __future__ import annotations

import torch
import triton  # type: ignore[import-not-found] - comes with CUDA builds of torch
import triton.language as tl  # type: ignore[import-not-found]
from torch import Tensor

from .launch import launch, power_of_two

TILE, WARPS = 4096, 8  # elements of one program
LAYOUT = torch.channels_last_3d


@triton.jit(do_not_specialize=["frames", "pixels"])
def norm_silu_kernel(
    x, before, bias, gamma, joined, kept, frames, pixels, eps,
    C: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, HISTORY: tl.constexpr,
    HAS_BEFORE: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_GAMMA: tl.constexpr,
):  # fmt: skip
    """ROWS pixels of one frame of `joined` (B, HISTORY + frames, pixels, C).

    The first HISTORY frames are copied from `before`, or zero; the others are
    silu(rms_norm(x + bias) * gamma). The last HISTORY frames are also written to `kept`.
    """
    frame = tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, WIDTH)
    inside = (row < pixels)[:, None] & (channel < C)[None, :]
    at = row[:, None] * C + channel[None, :]
    size = pixels.to(tl.int64) * C
    result = tl.zeros((ROWS, WIDTH), tl.float32)
    if frame < HISTORY:
        if HAS_BEFORE:
            place = (batch * HISTORY + frame) * size
            result = tl.load(before + place + at, mask=inside, other=0.0).to(tl.float32)
    else:
        place = (batch * frames + frame - HISTORY) * size
        value = tl.load(x + place + at, mask=inside, other=0.0).to(tl.float32)
        if HAS_BIAS:
            added = tl.load(bias + channel, mask=channel < C, other=0.0)
            value += added.to(tl.float32)[None, :]
        square = tl.sum(value * value, axis=1) / C
        value *= (1.0 / tl.sqrt(tl.maximum(square, 1e-24) + eps))[:, None]
        if HAS_GAMMA:
            factor = tl.load(gamma + channel, mask=channel < C, other=0.0)
            value *= factor.to(tl.float32)[None, :]
        result = value * tl.sigmoid(value)
    result = result.to(joined.dtype.element_ty)
    tl.store(joined + (batch * (HISTORY + frames) + frame) * size + at, result, mask=inside)
    if frame >= frames:  # never without a history
        place = (batch * HISTORY + frame - frames) * size
        tl.store(kept + place + at, result, mask=inside)


@triton.jit
def bias_sum_kernel(
    x, branch, bias, out, rows, C: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr
):  # fmt: skip
    """ROWS pixels (rows, C): out = x + branch + bias."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, WIDTH)
    inside = (row < rows)[:, None] & (channel < C)[None, :]
    at = row[:, None] * C + channel[None, :]
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(branch + at, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(bias + channel, mask=channel < C, other=0.0).to(tl.float32)[None, :]
    tl.store(out + at, value.to(out.dtype.element_ty), mask=inside)


@torch.library.custom_op("sana_stream::norm_silu", mutates_args=())
def norm_silu(
    x: Tensor,
    bias: Tensor | None,
    gamma: Tensor | None,
    before: Tensor | None,
    history: int,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Add a bias, normalise over channels, apply SiLU, and join to earlier frames.

    Args:
        x: (B, C, T, H, W).
        bias: of the convolution that made `x`, (C,); `None` for none.
        gamma: factor after the norm, of C elements; `None` for 1.
        before: results that precede `x`, (B, C, history, H, W); `None` for zeros.
        history: frames before.
        eps: added to the mean square.

    Returns:
        (B, C, history + T, H, W), and a copy of its last `history` frames.
    """
    x = x.contiguous(memory_format=LAYOUT)
    joined, kept = _results(x, history)
    if before is not None:
        before = before.contiguous(memory_format=LAYOUT)
    batch, channels, frames, height, width = x.shape
    size = power_of_two(channels)
    rows = max(1, TILE // size)
    launch(
        x, norm_silu_kernel, (triton.cdiv(height * width, rows), history + frames, batch),
        x, x if before is None else before, x if bias is None else bias,
        x if gamma is None else gamma, joined, kept, frames, height * width, eps,
        C=channels, WIDTH=size, ROWS=rows, HISTORY=history, HAS_BEFORE=before is not None,
        HAS_BIAS=bias is not None, HAS_GAMMA=gamma is not None, num_warps=WARPS,
    )  # fmt: skip
    return joined, kept


@norm_silu.register_fake
def _(
    x: Tensor, bias: Tensor | None, gamma: Tensor | None, before: Tensor | None,
    history: int, eps: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    return _results(x, history)


def _results(x: Tensor, history: int) -> tuple[Tensor, Tensor]:
    batch, channels, frames, height, width = x.shape
    joined, kept = (
        x.new_empty((batch, count, height, width, channels)).permute(0, 4, 1, 2, 3)
        for count in (history + frames, history)
    )
    return joined, kept


@torch.library.custom_op("sana_stream::bias_sum", mutates_args=())
def bias_sum(x: Tensor, branch: Tensor, bias: Tensor) -> Tensor:
    """Compute `x + branch + bias`: clips (B, C, T, H, W), bias (C,)."""
    x, branch = (part.contiguous(memory_format=LAYOUT) for part in (x, branch))
    out = _like(x)
    channels, size = x.shape[1], power_of_two(x.shape[1])
    pixels, rows = x.numel() // channels, max(1, TILE // size)
    launch(
        x, bias_sum_kernel, (triton.cdiv(pixels, rows),),
        x, branch, bias, out, pixels, C=channels, WIDTH=size, ROWS=rows, num_warps=WARPS,
    )  # fmt: skip
    return out


@bias_sum.register_fake
def _(x: Tensor, branch: Tensor, bias: Tensor) -> Tensor:
    return _like(x)


def _like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=LAYOUT)
