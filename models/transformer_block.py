"""One layer of the SANA-Video transformer, and the norms between layers.

Shapes: B batch, T latent frames of the block, P tokens of a frame, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import QK_NORM_EPS, AttentionState, CrossAttention, SelfAttention
from .config import TransformerConfig
from .embeddings import random_table
from .feedforward import FeedForward
from .fp8 import Activation, Quantized, flatten, quantize_rows
from .rope import RotaryEmbedding
from .text_kv import TextLayer


class NextNorm(NamedTuple):
    """The norm that follows a block: that of the next block, or of the output."""

    table: Tensor  # shift and scale (B, T or 1, 2, D)
    eps: float
    fp8: bool  # whether what reads it takes fp8

    def modulation(self) -> tuple[Tensor, Tensor, float]:
        """Shift and scale, each (B, T or 1, 1, D), and the epsilon."""
        shift, scale = self.table.unsqueeze(2).unbind(3)
        return shift, scale, self.eps


class TransformerBlock(nn.Module):
    """Linear attention, cross attention and feed-forward, each with a residual connection."""

    def __init__(self, config: TransformerConfig, cross_norm_eps: float = QK_NORM_EPS) -> None:
        super().__init__()
        self.eps = config.norm_eps
        self.fused = False  # set by `SanaVideoTransformer.set_kernels`
        self.attn1 = SelfAttention(config)
        self.attn2 = CrossAttention(config, cross_norm_eps)
        self.ff = FeedForward(config)
        width = config.hidden_size
        self.scale_shift_table = random_table(6, width)

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        rotation: RotaryEmbedding,
        text: TextLayer | tuple[TextLayer, ...],
        past: tuple[AttentionState, Tensor],
        grid: tuple[int, int],
        carried: list[Activation],
        following: NextNorm,
    ) -> tuple[Tensor, Activation, AttentionState, Tensor]:
        """Map tokens x (B, T, P, D) to the same shape, and compute the norm that follows.

        Args:
            x: (B, T, P, D).
            modulation: (B, T or 1, 6, D).
            rotation: rotary embedding of the block.
            text: keys, values and bias of the prompt, or those of each item of the batch.
            past: attention sums and conv state (B, P, D) of the earlier blocks.
            grid: token rows and columns of a frame.
            carried: the norm of x, from the block before; taken out, so that it can be freed.
            following: the norm of the result.

        Returns:
            The tokens and their norm, the block's sums and its conv state.
        """
        tables = self._tables(modulation)
        frames = x.shape[1]
        mixed, own = self._attend(carried, frames, rotation, past[0])
        x, mixed = self._cross_attend(x, mixed, tables, text)
        mixed, new_state = self.ff(mixed, *grid, past[1])
        x, normed = self._add_norm(x, mixed, tables[3], following.modulation(), following.fp8)
        return x, normed, own, new_state

    def state(
        self,
        x: Tensor,
        modulation: Tensor,
        rotation: RotaryEmbedding,
        text: TextLayer | tuple[TextLayer, ...],
        past: tuple[AttentionState, Tensor],
        grid: tuple[int, int],
        carried: list[Activation],
    ) -> tuple[AttentionState, Tensor]:
        """The sums and the conv state that `forward` returns, where its tokens are not needed.

        After self-attention only the last frame is computed, and no temporal convolution.
        """
        attended, own = self._attend(carried, x.shape[1], rotation, past[0])
        x, attended = (each[:, -1:].contiguous() for each in (x, attended))
        last = tuple(table[:, -1:] for table in self._tables(modulation))
        _, mixed = self._cross_attend(x, attended, last, text)
        return own, self.ff.spatial_conv(mixed, *grid)[:, -1]

    def _tables(self, modulation: Tensor) -> tuple[Tensor, ...]:
        """Gate of attention; shift, scale and gate of feed-forward: four of (B, T or 1, 1, D)."""
        table = self.scale_shift_table[2:] + modulation[:, :, 2:]
        return table.unsqueeze(2).unbind(3)

    def _attend(
        self,
        carried: list[Activation],
        frames: int,
        rotation: RotaryEmbedding,
        sums: AttentionState,
    ) -> tuple[Tensor, AttentionState]:
        attended, own = self.attn1(flatten(carried.pop(), 1, 2), rotation, sums)
        return attended.unflatten(1, (frames, -1)), own

    def _cross_attend(
        self,
        x: Tensor,
        attended: Tensor,
        tables: tuple[Tensor, ...],
        text: TextLayer | tuple[TextLayer, ...],
    ) -> tuple[Tensor, Activation]:
        """The tokens after both attentions, and the input of the feed-forward."""
        gate, shift, scale, _ = tables
        x, crossing = self._add(x, attended, gate)
        crossed = self.attn2(flatten(crossing, 1, 2), text).unflatten(1, (x.shape[1], -1))
        return self._add_norm(x, crossed, None, (shift, scale, self.eps), self.ff.takes_fp8)

    def next_norm(self, modulation: Tensor) -> NextNorm:
        """The norm of this block's input; `modulation` as for `forward`."""
        table = self.scale_shift_table[:2] + modulation[:, :, :2]
        return NextNorm(table, self.eps, self.attn1.takes_fp8)

    def norm(self, x: Tensor, norm: NextNorm) -> Activation:
        """Apply a norm to tokens x (B, T, P, D)."""
        if not self.fused:
            return _quantized(modulate(x, *norm.modulation()), norm.fp8)
        if norm.fp8:
            return Quantized(*torch.ops.sana_stream.modulated_norm_fp8(x, *norm.modulation()))
        return torch.ops.sana_stream.modulated_norm(x, *norm.modulation())

    def _add(self, x: Tensor, branch: Tensor, gate: Tensor) -> tuple[Tensor, Activation]:
        """The gated sum, and the same for cross attention."""
        if self.fused and self.attn2.takes_fp8:
            x, *quantized = torch.ops.sana_stream.gated_sum_fp8(x, branch, gate)
            return x, Quantized(*quantized)
        if self.fused:
            x = torch.ops.sana_stream.gated_sum(x, branch, gate)
        else:
            x = x + gate * branch
        return x, x

    def _add_norm(
        self,
        x: Tensor,
        branch: Tensor,
        gate: Tensor | None,
        modulation: tuple[Tensor, Tensor, float],
        fp8: bool,
    ) -> tuple[Tensor, Activation]:
        """The gated sum, and its norm; without a gate it is 1."""
        if self.fused and fp8:
            x, *quantized = torch.ops.sana_stream.sum_norm_fp8(x, branch, gate, *modulation)
            return x, Quantized(*quantized)
        if self.fused:
            return torch.ops.sana_stream.sum_norm(x, branch, gate, *modulation)
        x = x + (branch if gate is None else gate * branch)
        return x, _quantized(modulate(x, *modulation), fp8)


def _quantized(x: Tensor, fp8: bool) -> Activation:
    return quantize_rows(x) if fp8 else x


def modulate(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    """Compute `LayerNorm(x) * (1 + scale) + shift`, in the dtype of x."""
    if scale.numel() == x.shape[-1] and scale.dtype == x.dtype:  # the same for all tokens: fused
        return F.layer_norm(x, x.shape[-1:], (1 + scale).flatten(), shift.flatten(), eps)
    if x.shape[0] > 1 and scale.shape[1] == 1:  # each item as it would be alone, to the last bit
        items = zip(x.split(1), shift.split(1), scale.split(1), strict=True)
        return torch.cat([modulate(*item, eps) for item in items])
    return (F.layer_norm(x, x.shape[-1:], eps=eps) * (1 + scale) + shift).to(x.dtype)
