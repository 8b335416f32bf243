"""Layers of the LTX-2 VAE, which process a stream chunk by chunk, or a clip as a whole.

They are called as those of `layers.py`: `layer(x, tails)` with `x (B, C, T, H, W)` gives the output
and the new tails. Causal layers cache frames. Others keep no tails and are given a whole clip.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import ConvCache, StreamingLayer, Tails, convolve, next_tail, run_layers
from .layout import empty_like_weight, fold_clip, join_frames, last_frames, unfold_clip
from .ltx2_layout import Level
from .ltx2_schema import Stride

KERNEL = 3
NORM_EPS = 1e-8


class TemporalConv(StreamingLayer):
    """A 3x3x3 convolution; frames beyond the ends of the video equal its first or last one.

    A causal one sees two earlier frames, another one frame on each side.

    Args:
        padding: how rows and columns are padded, in torch's words.
    """

    def __init__(self, dim: int, out_dim: int, padding: str, causal: bool) -> None:
        super().__init__()
        zeros = (0, KERNEL // 2, KERNEL // 2) if padding == "zeros" else 0
        self.conv = nn.Conv3d(dim, out_dim, KERNEL, padding=zeros)
        self.padding = padding
        self.causal = causal

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        padded, inner = self._padded(x)
        history = KERNEL - 1 if self.causal else KERNEL // 2
        before = next_tail(tails) if self.causal else None
        inner[:, :, :history] = x[:, :, :1] if before is None else before
        del before
        inner[:, :, history : history + x.shape[2]] = x
        if not self.causal:
            inner[:, :, -history:] = x[:, :, -1:]
        kept = (last_frames(inner, KERNEL - 1),) if self.causal else ()
        if padded is not inner:
            for dim in (3, 4):
                fill_sides(padded, dim, self.padding)
        return convolve(self.conv, padded), kept

    def _padded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """An empty clip with the frames around `x` and the pixels around them, and its inside."""
        side = 0 if self.padding == "zeros" else KERNEL // 2
        batch, dim, frames, height, width = x.shape
        size = batch, dim, frames + KERNEL - 1, height + 2 * side, width + 2 * side
        padded = empty_like_weight(x, size, self.conv.weight)
        if side == 0:
            return padded, padded
        return padded, padded[:, :, :, side:-side, side:-side]


def fill_sides(padded: Tensor, dim: int, mode: str) -> None:
    """Fill the first and the last row or column of a padded clip, as `torch.nn.functional.pad`.

    Args:
        padded: changed in place.
        dim: 3 for rows, 4 for columns.
        mode: "reflect", "replicate" or "circular".
    """
    last = padded.shape[dim] - 1
    first_from, last_from = {
        "reflect": (2, last - 2),
        "replicate": (1, last - 1),
        "circular": (last - 1, 1),
    }[mode]
    padded.select(dim, 0).copy_(padded.select(dim, first_from))
    padded.select(dim, last).copy_(padded.select(dim, last_from))


def normalized_silu(x: Tensor, fused: bool = False) -> Tensor:
    """SiLU of `x` divided by its root mean square over channels, computed in float32."""
    if fused:
        return torch.ops.sana_stream.norm_silu(x, None, None, None, 0, NORM_EPS)[0]
    # unlike a mean of squares, the norm needs no float32 copy of x
    square = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32).square()
    return F.silu((x * (square / x.shape[1] + NORM_EPS).rsqrt()).to(x.dtype))


class ResidualBlock(StreamingLayer):
    """Two normalised convolutions with a shortcut, which is a 1x1x1 one where channels change."""

    def __init__(self, dim: int, out_dim: int, norm_eps: float, padding: str, causal: bool) -> None:
        super().__init__()
        self.conv1 = TemporalConv(dim, out_dim, padding, causal)
        self.conv2 = TemporalConv(out_dim, out_dim, padding, causal)
        if dim != out_dim:
            self.norm3 = nn.LayerNorm(dim, norm_eps)
            self.conv_shortcut = nn.Conv3d(dim, out_dim, 1)
        self.has_shortcut = dim != out_dim
        self.fused = False  # set by `set_kernels`

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        y, tail1 = self.conv1(normalized_silu(x, self.fused), tails)
        y = normalized_silu(y, self.fused)
        y, tail2 = self.conv2(y, tails)
        if self.has_shortcut:
            x = self.conv_shortcut(self.norm3(x.movedim(1, -1)).movedim(-1, 1))
        return x + y, (*tail1, *tail2)


class Downsample(StreamingLayer):
    """Folds pixels and frames into channels after a convolution; the shortcut averages channels.

    The first frame of a stream counts as `stride[0]` frames.
    """

    def __init__(self, dim: int, out_dim: int, stride: Stride, padding: str) -> None:
        super().__init__()
        self.conv = TemporalConv(dim, out_dim // prod(stride), padding, causal=True)
        self.stride = stride
        self.group = dim * prod(stride) // out_dim

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        weight = self.conv.conv.weight
        if tails is None and self.stride[0] > 1:
            x = join_frames(x[:, :, :1], x, self.stride[0] - 1, weight)
        shortcut = fold_clip(x, self.stride, weight).unflatten(1, (-1, self.group)).mean(dim=2)
        y, kept = self.conv(x, tails)
        return fold_clip(y, self.stride, weight) + shortcut, kept


class Upsample(StreamingLayer):
    """Unfolds channels to pixels and frames after a convolution, also in the shortcut.

    The first frame of a stream gives one frame.
    """

    def __init__(self, level: Level, stride: Stride, padding: str, causal: bool) -> None:
        super().__init__()
        dim = level.out_dim * level.factor
        self.conv = TemporalConv(dim, level.out_dim * prod(stride), padding, causal)
        self.stride = stride
        self.residual = level.residual
        self.repeats = prod(stride) // level.factor

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        weight = self.conv.conv.weight
        y, kept = self.conv(x, tails)
        y = unfold_clip(y, self.stride, weight)
        if self.residual:
            shortcut = unfold_clip(x, self.stride, weight).unsqueeze(1)  # for groups of channels
            y = (y.unflatten(1, (self.repeats, -1)) + shortcut).flatten(1, 2)
        skipped = self.stride[0] - 1 if tails is None else 0
        return y[:, :, skipped:], kept


class _Block(StreamingLayer, ABC):
    """Layers one after the other, in named lists."""

    @abstractmethod
    def sequence(self) -> Iterable[StreamingLayer]:
        """The layers in the order of their calls."""

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        return run_layers(self.sequence(), x, tails)


class MidBlock(_Block):
    """Residual blocks that keep channels, rows and columns."""

    def __init__(self, dim: int, layers: int, norm_eps: float, padding: str, causal: bool) -> None:
        super().__init__()
        blocks = (ResidualBlock(dim, dim, norm_eps, padding, causal) for _ in range(layers))
        self.resnets = nn.ModuleList(blocks)

    def sequence(self) -> Iterable[StreamingLayer]:
        return self.resnets  # type: ignore[return-value]


class DownBlock(_Block):
    """Residual blocks, then a downsampler where the level has one."""

    def __init__(self, level: Level, norm_eps: float, padding: str) -> None:
        super().__init__()
        dim, out_dim = level.dim, level.out_dim
        blocks = (ResidualBlock(dim, dim, norm_eps, padding, True) for _ in range(level.layers))
        self.resnets = nn.ModuleList(blocks)
        self.downsamplers = nn.ModuleList()
        if level.stride is not None:
            self.downsamplers.append(Downsample(dim, out_dim, level.stride, padding))

    def sequence(self) -> Iterable[StreamingLayer]:
        return (*self.resnets, *self.downsamplers)  # type: ignore[return-value]


class UpBlock(_Block):
    """An upsampler where the level has one, then residual blocks."""

    def __init__(self, level: Level, norm_eps: float, padding: str, causal: bool) -> None:
        super().__init__()
        dim, out_dim = level.dim, level.out_dim
        self.conv_in = (
            None if dim == out_dim else ResidualBlock(dim, out_dim, norm_eps, padding, causal)
        )
        self.upsamplers = nn.ModuleList()
        if level.stride is not None:
            self.upsamplers.append(Upsample(level, level.stride, padding, causal))
        blocks = (
            ResidualBlock(out_dim, out_dim, norm_eps, padding, causal) for _ in range(level.layers)
        )
        self.resnets = nn.ModuleList(blocks)

    def sequence(self) -> Iterable[StreamingLayer]:
        first = () if self.conv_in is None else (self.conv_in,)
        return (*first, *self.upsamplers, *self.resnets)  # type: ignore[return-value]
