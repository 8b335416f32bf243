"""Rotary position embedding over time, row and column, for any position, without a table.

Shapes: B batch, T latent frames, h w token rows and columns, N = T*h*w tokens, d head width.
The head width splits into `d - 4*(d//6)` channels for time and `2*(d//6)` each for row and column.
Channels `(2i, 2i+1)` form a pair (SANA-Video, arXiv 2509.24695; the split is Wan 2.1's).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .upload import to_device

THETA = 10000.0


class RotaryEmbedding(NamedTuple):
    """Cosines and sines of each token and channel pair, float32 (B or 1, N, 1, d/2)."""

    cos: Tensor
    sin: Tensor


def axis_widths(head_dim: int) -> tuple[int, int, int]:
    """Numbers of head channels for time, row and column."""
    side = 2 * (head_dim // 6)
    return head_dim - 2 * side, side, side


def rotary_embedding(
    head_dim: int,
    frames: int,
    height: int,
    width: int,
    start: int | Tensor,
    device: torch.device | str = "cpu",
) -> RotaryEmbedding:
    """Compute the rotary embedding of a block of `frames` x `height` x `width` tokens.

    Angles are computed in float64 on the CPU: they stay exact after days of video, and not every
    device has float64.

    Args:
        head_dim: width d of one attention head.
        start: absolute index of the block's first latent frame; an int, or int64 (B,).
        device: device of the float32 result.
    """
    starts = torch.as_tensor(start, dtype=torch.float64, device="cpu").reshape(-1, 1)
    time_dim, row_dim, column_dim = axis_widths(head_dim)
    time = _axis(starts + _count(frames), time_dim)  # (B, T, time/2)
    row = _axis(_count(height), row_dim)  # (h, row/2)
    column = _axis(_count(width), column_dim)  # (w, column/2)
    batch = starts.shape[0]

    axes = time, row, column
    sizes = [angles.numel() for angles in axes]
    # one copy to the device for all of them
    tables = [
        torch.cat([turn(angles).flatten() for angles in axes]) for turn in (torch.cos, torch.sin)
    ]
    cos, sin = to_device(torch.stack(tables).float(), device)
    grid = (batch, frames, height, width)

    def spread(table: Tensor) -> Tensor:
        own = zip(table.split(sizes), axes, strict=True)
        t, r, c = (part.view(angles.shape) for part, angles in own)
        parts = (
            t[:, :, None, None].expand(*grid, -1),
            r[None, None, :, None].expand(*grid, -1),
            c[None, None, None].expand(*grid, -1),
        )
        return torch.cat(parts, dim=-1).flatten(1, 3).unsqueeze(2)

    return RotaryEmbedding(spread(cos), spread(sin))


def apply_rotary_emb(x: Tensor, rotation: RotaryEmbedding) -> Tensor:
    """Rotate every channel pair of `x` (B, N, H, d) by its angle; same dtype out."""
    if x.dtype == torch.float32 and x.device.type != "mps" and not torch.compiler.is_compiling():
        # one pass over x; compilers fuse the real form below and cannot fuse complex numbers
        pairs = torch.view_as_complex(x.contiguous().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * torch.complex(*rotation)).flatten(-2)
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = rotation
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    return turned.flatten(-2).type_as(x)


def shift_in_time(key_sum: Tensor, frames: int) -> Tensor:
    """Rotate stored sums `sum of v rope(k)^T` as if their keys were `frames` later, exactly.

    RoPE is linear on the key axis. A common shift in time of all keys is therefore one rotation of
    that axis: `S R(frames)^T` over the time pairs.

    Args:
        key_sum: float32 (..., d, d), last axis the rotated key's channels.
        frames: shift in latent frames; negative shifts back.
    """
    if frames == 0:
        return key_sum
    time_dim = axis_widths(key_sum.shape[-1])[0]
    angles = _axis(torch.tensor([float(frames)], dtype=torch.float64, device="cpu"), time_dim)[0]
    cos, sin = to_device(torch.stack((angles.cos(), angles.sin())).float(), key_sum.device)
    time, space = key_sum.split((time_dim, key_sum.shape[-1] - time_dim), dim=-1)
    even, odd = time.unflatten(-1, (-1, 2)).unbind(-1)
    moved = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)
    return torch.cat((moved, space), dim=-1)


def _count(end: int) -> Tensor:
    return torch.arange(end, dtype=torch.float64, device="cpu")


def _axis(positions: Tensor, width: int) -> Tensor:
    """Compute angles, float64 (*positions.shape, width/2)."""
    exponents = _count(width)[::2] / width
    return positions.unsqueeze(-1) * THETA**-exponents
