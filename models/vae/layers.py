"""Layers of causal VAEs, which process a stream of frames chunk by chunk.

Every layer is called as `layer(x, tails)` with `x (B, C, T, H, W)`. It returns its output and the
new tails: the last input frames of its causal convolutions, which precede the next chunk.
`tails` is `None` at the start of a stream, and later a list of the tails that the last call
returned, from whose front each layer removes its own. Those that nothing else refers to are freed
one by one, before new ones are made: a large cache is in memory once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layout import from_frames, join_frames, last_frames, to_frames

ConvCache = tuple[Tensor, ...]
Tails = list[Tensor]  # of an earlier call; each layer removes its own from the front


class StreamingLayer(nn.Module):
    """Base of layers called as `layer(x, tails) -> (y, tails)`."""

    def sequence(self) -> Iterable[StreamingLayer]:
        """The layers that make up this one where they run one after the other, else itself."""
        return (self,)


def run_layers(
    layers: Iterable[StreamingLayer], x: Tensor, tails: Tails | None
) -> tuple[Tensor, ConvCache]:
    """Run a chunk through layers in sequence; each layer takes its own tails."""
    kept: ConvCache = ()
    for layer in _flat(layers):  # no caller of a caller holds the input of a finished layer
        x, new = layer(x, tails)
        kept += new
    return x, kept


def _flat(layers: Iterable[StreamingLayer]) -> Iterator[StreamingLayer]:
    for layer in layers:
        parts = tuple(layer.sequence())
        if parts == (layer,):
            yield layer
        else:
            yield from _flat(parts)


def next_tail(tails: Tails | None) -> Tensor | None:
    """Remove the first tail from the list and return it; `None` at the start of a stream."""
    return None if tails is None else tails.pop(0)


def causal_conv(conv: nn.Conv3d, x: Tensor, tails: Tails | None) -> tuple[Tensor, Tensor]:
    """Convolve causally over time: the next tail, or zeros at the start, precedes `x`."""
    x, tail = join_tail(conv, x, tails)
    return convolve(conv, x), tail


def join_tail(conv: nn.Conv3d, x: Tensor, tails: Tails | None) -> tuple[Tensor, Tensor]:
    """The input of a causal convolution: `x` after the next tail or zeros, and the new tail."""
    history = conv.kernel_size[0] - conv.stride[0]
    x = join_frames(next_tail(tails), x, history, conv.weight)
    return x, last_frames(x, history)


def set_kernels(network: nn.Module, fused: bool) -> None:
    """Choose between the fused kernels, which must be registered, and the plain torch code."""
    for layer in network.modules():
        if hasattr(layer, "fused"):
            layer.fused = fused  # type: ignore[assignment] - of any layer that has it


def join_normalized(
    norm: RMSNorm, conv: nn.Conv3d, x: Tensor, tails: Tails | None, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`join_tail` of the SiLU of a norm, in one kernel.

    Args:
        bias: added to `x` first.
    """
    history = conv.kernel_size[0] - conv.stride[0]
    norm_silu = torch.ops.sana_stream.norm_silu
    return norm_silu(x, bias, norm.gamma, next_tail(tails), history, 0.0)


def convolve_without_bias(conv: nn.Conv3d, x: Tensor) -> Tensor:
    """Convolve without the convolution's own bias, which a later pass adds."""
    padding = cast("tuple[int, int, int]", conv.padding)
    return F.conv3d(x, conv.weight, None, conv.stride, padding)


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

    def __init__(self, dim: int, out_dim: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = RMSNorm(dim)
        self.conv1 = frame_conv(dim, out_dim)
        self.norm2 = RMSNorm(out_dim)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = frame_conv(out_dim, out_dim)
        self.conv_shortcut = nn.Conv3d(dim, out_dim, 1) if dim != out_dim else nn.Identity()
        self.fused = False  # set by `set_kernels`

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        # one name for all, so that each result is freed once the next one is made
        if self.fused:
            y, tail1 = join_normalized(self.norm1, self.conv1, x, tails)
            y = convolve_without_bias(self.conv1, y)
            y, tail2 = join_normalized(self.norm2, self.conv2, y, tails, self.conv1.bias)
            y = convolve_without_bias(self.conv2, y)
            return self._sum(x, y), (tail1, tail2)
        y, tail1 = causal_conv(self.conv1, F.silu(self.norm1(x)), tails)
        y, tail2 = join_tail(self.conv2, self.dropout(F.silu(self.norm2(y))), tails)
        y, shortcut = convolve(self.conv2, y), self.conv_shortcut
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

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        frames = to_frames(x)
        qkv = self.to_qkv(self.norm(frames)).flatten(2).transpose(1, 2)  # (B·T, H·W, 3·C)
        q, k, v = qkv.unsqueeze(1).chunk(3, dim=-1)
        y = F.scaled_dot_product_attention(q, k, v).squeeze(1)
        y = self.proj(y.transpose(1, 2).unflatten(2, frames.shape[2:]))
        return x + from_frames(y, x.shape[0]), ()


class MidBlock(StreamingLayer):
    """Middle of encoder and decoder: attention between two residual blocks."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([AttentionBlock(dim)])
        self.resnets = nn.ModuleList([ResidualBlock(dim, dim, dropout) for _ in range(2)])

    def sequence(self) -> Iterable[StreamingLayer]:
        """Its layers in the order of their calls."""
        first, last = self.resnets
        return cast("tuple[StreamingLayer, ...]", (first, self.attentions[0], last))

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        return run_layers(self.sequence(), x, tails)
