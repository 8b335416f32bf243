"""Layers of causal VAEs, which process a stream of frames chunk by chunk.

Every layer is called as `layer(x, tails)` with `x (B, C, T, H, W)`. It returns its output and the
new tails: the last input frames of its causal convolutions, which precede the next chunk.
`tails` is `None` at the start of a stream, and later the tuple that the last call returned.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layout import from_frames, join_frames, last_frames, to_frames

ConvCache = tuple[Tensor, ...]


class StreamingLayer(nn.Module):
    """Base of layers called as `layer(x, tails) -> (y, tails)`, with `num_cached` tails."""

    num_cached = 0


def run_layers(
    layers: Iterable[StreamingLayer], x: Tensor, tails: ConvCache | None
) -> tuple[Tensor, ConvCache]:
    """Run a chunk through layers in sequence; each layer gets its own part of the tails."""
    kept: ConvCache = ()
    for layer in layers:
        own = None if tails is None else tails[len(kept) : len(kept) + layer.num_cached]
        x, new = layer(x, own)
        kept += new
    return x, kept


def causal_conv(conv: nn.Conv3d, x: Tensor, tail: Tensor | None) -> tuple[Tensor, Tensor]:
    """Convolve causally over time: the tail, or zeros at the start, precedes `x`."""
    history = conv.kernel_size[0] - conv.stride[0]
    x = join_frames(tail, x, history, conv.weight)
    return convolve(conv, x), last_frames(x, history)


def set_kernels(network: nn.Module, fused: bool) -> None:
    """Choose between the fused kernels, which must be registered, and the plain torch code."""
    for layer in network.modules():
        if hasattr(layer, "fused"):
            layer.fused = fused  # type: ignore[assignment] - of any layer that has it


def norm_conv(
    norm: RMSNorm, conv: nn.Conv3d, x: Tensor, tail: Tensor | None, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`causal_conv` of the SiLU of a norm, fused and without the convolution's own bias.

    Args:
        bias: added to `x` first.
    """
    history = conv.kernel_size[0] - conv.stride[0]
    joined, kept = torch.ops.sana_stream.norm_silu(x, bias, norm.gamma, tail, history, 0.0)
    padding = cast("tuple[int, int, int]", conv.padding)
    return F.conv3d(joined, conv.weight, None, conv.stride, padding), kept


def convolve(conv: nn.Conv3d, x: Tensor) -> Tensor:
    """Convolve with the convolution's own padding, in the fastest kernel."""
    # torch sends a single float32 clip with C·T·H up to 20480 to its own CPU kernel, which takes
    # 5 to 15 times as long as oneDNN's. Larger batches and bfloat16 are not affected.
    single = x.dtype == torch.float32 and x.device.type == "cpu" and x.shape[0] == 1
    if not single or torch.compiler.is_compiling() or not torch.backends.mkldnn.is_available():
        return conv(x)
    padding = cast("tuple[int, ...]", conv.padding)
    rest = (conv.stride, conv.dilation, conv.groups)
    return torch.mkldnn_convolution(x, conv.weight, conv.bias, padding, *rest)


def frame_conv(dim: int, out_dim: int) -> nn.Conv3d:
    """Create a 3x3x3 convolution for `causal_conv` that keeps height and width."""
    return nn.Conv3d(dim, out_dim, 3, padding=(0, 1, 1))


class RMSNorm(nn.Module):
    """RMS normalisation over channels, computed in float32, times `gamma`."""

    def __init__(self, dim: int, spatial_dims: int = 3) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim, *(1,) * spatial_dims))

    def forward(self, x: Tensor) -> Tensor:
        exact = x.float()
        scale = exact.square().mean(dim=1, keepdim=True).clamp_min(1e-24).rsqrt()
        return (exact * scale * self.gamma).to(x.dtype)


class ResidualBlock(StreamingLayer):
    """Two normalised causal convolutions with a shortcut."""

    num_cached = 2

    def __init__(self, dim: int, out_dim: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = RMSNorm(dim)
        self.conv1 = frame_conv(dim, out_dim)
        self.norm2 = RMSNorm(out_dim)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = frame_conv(out_dim, out_dim)
        self.conv_shortcut = nn.Conv3d(dim, out_dim, 1) if dim != out_dim else nn.Identity()
        self.fused = False  # set by `set_kernels`

    def forward(self, x: Tensor, tails: ConvCache | None) -> tuple[Tensor, ConvCache]:
        tail1, tail2 = tails if tails is not None else (None, None)
        if self.fused:
            y, tail1 = norm_conv(self.norm1, self.conv1, x, tail1)
            y, tail2 = norm_conv(self.norm2, self.conv2, y, tail2, self.conv1.bias)
            return self._sum(x, y), (tail1, tail2)
        y, tail1 = causal_conv(self.conv1, F.silu(self.norm1(x)), tail1)
        y, tail2 = causal_conv(self.conv2, self.dropout(F.silu(self.norm2(y))), tail2)
        shortcut = self.conv_shortcut
        return (convolve(shortcut, x) if isinstance(shortcut, nn.Conv3d) else x) + y, (tail1, tail2)

    def _sum(self, x: Tensor, y: Tensor) -> Tensor:
        """The shortcut and `y` with the biases of both, in one pass."""
        bias, shortcut = cast("Tensor", self.conv2.bias), self.conv_shortcut
        if isinstance(shortcut, nn.Conv3d):
            x, bias = F.conv3d(x, shortcut.weight), bias + cast("Tensor", shortcut.bias)
        return torch.ops.sana_stream.bias_sum(x, y, bias)


class AttentionBlock(StreamingLayer):
    """Single-head self-attention among the pixels of each frame; no tails."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = RMSNorm(dim, spatial_dims=2)
        self.to_qkv = nn.Conv2d(dim, dim * 3, 1)
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor, tails: ConvCache | None) -> tuple[Tensor, ConvCache]:
        frames = to_frames(x)
        qkv = self.to_qkv(self.norm(frames)).flatten(2).transpose(1, 2)  # (B·T, H·W, 3·C)
        q, k, v = qkv.unsqueeze(1).chunk(3, dim=-1)
        y = F.scaled_dot_product_attention(q, k, v).squeeze(1)
        y = self.proj(y.transpose(1, 2).unflatten(2, frames.shape[2:]))
        return x + from_frames(y, x.shape[0]), ()


class MidBlock(StreamingLayer):
    """Middle of encoder and decoder: attention between two residual blocks."""

    num_cached = 4

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([AttentionBlock(dim)])
        self.resnets = nn.ModuleList([ResidualBlock(dim, dim, dropout) for _ in range(2)])

    def forward(self, x: Tensor, tails: ConvCache | None) -> tuple[Tensor, ConvCache]:
        first, last = self.resnets
        layers = cast("tuple[StreamingLayer, ...]", (first, self.attentions[0], last))
        return run_layers(layers, x, tails)
