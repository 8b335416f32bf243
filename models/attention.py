"""Block linear attention and cross attention.

Shapes: B batch, N tokens of the block, L text tokens, H heads, d head width, D = H*d.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import TransformerConfig
from .fp8 import FP8, Activation, Fp8Linear, Quantized, scaled_product
from .rope import RotaryEmbedding, apply_rotary_emb

DENOMINATOR_EPS = 1e-15
QK_NORM_EPS = 1e-5


class AttentionState(NamedTuple):
    """Sums that linear attention carries from earlier tokens, always float32.

    `S = sum of v rope(k)^T` with shape (..., B, H, d, d), value channels first.
    `z = sum of k` with shape (..., B, H, d).
    The numerator uses rotated keys and the denominator unrotated ones (SANA-Video,
    arXiv 2509.24695, section 3).
    """

    S: Tensor
    z: Tensor


def linear_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rotation: RotaryEmbedding,
    past: AttentionState,
    reduce: Callable[[AttentionState], AttentionState] | None = None,
) -> tuple[Tensor, AttentionState]:
    """Attend to all tokens of the block and to the earlier blocks summed in `past`.

    Args:
        query, key: non-negative features (B, N, H, d), before rotation.
        value: (B, N, H, d).
        rotation: rotary embedding of the block's tokens.
        past: sums of the earlier blocks, S (B, H, d, d) and z (B, H, d).
        reduce: adds the sums of the block's other tokens, where these are only a part of it.

    Returns:
        The output (B, N, H, d) in float32, and the sums of this block, not added to `past`.
    """
    # float32 for any weight dtype: bfloat16 sums stop changing once they are large
    query, key, value = query.float(), key.float(), value.float()
    turned_query = apply_rotary_emb(query, rotation).transpose(1, 2)  # (B, H, N, d)
    turned_key = apply_rotary_emb(key, rotation).permute(0, 2, 3, 1)  # (B, H, d, N)
    own = AttentionState(
        S=(turned_key @ value.transpose(1, 2)).transpose(-1, -2),
        z=key.sum(dim=1),
    )
    if reduce is not None:
        own = reduce(own)
    numerator = turned_query @ (past.S + own.S).transpose(-1, -2)  # (B, H, N, d)
    denominator = query.transpose(1, 2) @ (past.z + own.z).unsqueeze(-1)  # (B, H, N, 1)
    return (numerator / (denominator + DENOMINATOR_EPS)).transpose(1, 2), own


class SelfAttention(nn.Module):
    """Projections and `linear_attention`; parameters named as in the published checkpoints."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width, bias = config.hidden_size, config.attention_bias
        self.fused = False  # set by `SanaVideoTransformer.set_kernels`
        # see `join_projections`
        self._joined: tuple[Tensor | Quantized, Tensor | None] | None = None
        self.heads = config.num_attention_heads
        self.to_q = nn.Linear(width, width, bias=bias)
        self.to_k = nn.Linear(width, width, bias=bias)
        self.to_v = nn.Linear(width, width, bias=bias)
        self.norm_q = nn.RMSNorm(width, eps=QK_NORM_EPS)
        self.norm_k = nn.RMSNorm(width, eps=QK_NORM_EPS)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    @property
    def takes_fp8(self) -> bool:
        """Whether the projections read one input that is quantized to fp8."""
        return all(isinstance(layer, Fp8Linear) for layer in (self.to_q, self.to_k, self.to_v))

    def features(self, x: Activation) -> tuple[Tensor, Tensor, Tensor]:
        """Project tokens x to query, key (both non-negative) and value: each (B, N, H, d)."""
        query = F.relu(self.norm_q(self.to_q(x)))
        key = F.relu(self.norm_k(self.to_k(x)))
        heads = (self.heads, -1)
        return (
            query.unflatten(-1, heads),
            key.unflatten(-1, heads),
            self.to_v(x).unflatten(-1, heads),
        )

    def forward(
        self, x: Activation, rotation: RotaryEmbedding, past: AttentionState
    ) -> tuple[Tensor, AttentionState]:
        """Map tokens x (B, N, D) to the output (B, N, D), and return the sums of this block."""
        if self.fused:
            return self._forward_fused(x, rotation, past)
        output, own = linear_attention(*self.features(x), rotation, past)
        return self.to_out[0](output.flatten(2).to(self.norm_q.weight.dtype)), own

    def _forward_fused(
        self, x: Activation, rotation: RotaryEmbedding, past: AttentionState
    ) -> tuple[Tensor, AttentionState]:
        if self._joined is None:
            query, key, value = self.to_q(x), self.to_k(x), self.to_v(x)
        else:
            query, key, value = self._product(x, *self._joined).chunk(3, dim=-1)
        output, S, z = torch.ops.sana_stream.linear_attention(
            query,
            key,
            value,
            self.norm_q.weight,
            self.norm_k.weight,
            *rotation,
            *past,
            QK_NORM_EPS,
            DENOMINATOR_EPS,
        )
        return self.to_out[0](output), AttentionState(S, z)

    def _product(self, x: Activation, weight: Tensor | Quantized, bias: Tensor | None) -> Tensor:
        if isinstance(weight, Tensor):
            assert isinstance(x, Tensor)
            return F.linear(x, weight, bias)
        assert isinstance(x, Quantized)
        return scaled_product(x, weight, bias, self.norm_q.weight.dtype)

    def join_projections(self) -> None:
        """Store the weights of query, key and value as parts of one matrix, for one product.

        The parameters stay, and what changes their values changes the matrix. Call
        `separate_projections` before replacing them. Does nothing where only some are fp8.
        """
        layers = self.to_q, self.to_k, self.to_v
        if len({layer.weight.dtype for layer in layers}) > 1:
            return
        weight, bias = self._join("weight"), self._join("bias")
        assert weight is not None
        scale = self._join("scale") if self.takes_fp8 else None
        self._joined = (weight if scale is None else Quantized(weight, scale)), bias

    def _join(self, name: str) -> Tensor | None:
        """One tensor of a parameter of the three layers, which become parts of it."""
        parameters = [getattr(layer, name) for layer in (self.to_q, self.to_k, self.to_v)]
        if any(each is None for each in parameters):
            return None
        dtype = parameters[0].dtype
        if dtype == FP8:  # torch joins no fp8 tensors on CUDA in some versions, but bytes in all
            joined = torch.cat([each.data.view(torch.uint8) for each in parameters]).view(dtype)
        else:
            joined = torch.cat([each.data for each in parameters])
        for each, part in zip(parameters, joined.chunk(3), strict=True):
            each.data = part
        return joined

    def separate_projections(self) -> None:
        """Compute query, key and value by their own layers."""
        self._joined = None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.separate_projections()  # moving and converting gives each parameter its own memory
        return super()._apply(fn, recurse)


def _attend(query: Tensor, text: Any) -> Tensor:
    """Softmax attention (B, H, N, d) to keys, values and bias."""
    keys, values, bias = text
    return F.scaled_dot_product_attention(query, keys, values, attn_mask=bias)


class CrossAttentionShapes(Protocol):
    """The shapes of `CrossAttention`, as every transformer's configuration has them."""

    @property
    def hidden_size(self) -> int: ...
    @property
    def num_cross_attention_heads(self) -> int: ...
    @property
    def cross_attention_head_dim(self) -> int: ...
    @property
    def cross_attention_dim(self) -> int: ...


class CrossAttention(nn.Module):
    """Softmax attention to the text; keys and values are computed once per prompt.

    Args:
        config: shapes.
        norm_eps: epsilon of the norms of queries and keys.
    """

    def __init__(self, config: CrossAttentionShapes, norm_eps: float = QK_NORM_EPS) -> None:
        super().__init__()
        width = config.hidden_size
        inner = config.num_cross_attention_heads * config.cross_attention_head_dim
        self.heads = config.num_cross_attention_heads
        self.to_q = nn.Linear(width, inner)
        self.to_k = nn.Linear(config.cross_attention_dim, inner)
        self.to_v = nn.Linear(config.cross_attention_dim, inner)
        self.norm_q = nn.RMSNorm(inner, eps=norm_eps)
        self.norm_k = nn.RMSNorm(inner, eps=norm_eps)
        self.to_out = nn.ModuleList([nn.Linear(inner, width)])

    def keys_values(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Compute keys and values (B, H, L, d) of projected text tokens (B, L, D)."""
        key, value = self.norm_k(self.to_k(text)), self.to_v(text)
        return self._split(key), self._split(value)

    @property
    def takes_fp8(self) -> bool:
        """Whether the projection reads an input that is quantized to fp8."""
        return isinstance(self.to_q, Fp8Linear)

    def forward(
        self,
        x: Activation,
        text: tuple[Tensor, Tensor, Tensor | None]
        | tuple[tuple[Tensor, Tensor, Tensor | None], ...],
    ) -> Tensor:
        """Attend from tokens x (B, N, D) to the text.

        Args:
            x: tokens.
            text: keys and values (B, H, L, d) and bias (B, 1, 1, L), or one such triple of batch 1
                for each item, whose lengths may differ.
        """
        query = self._split(self.norm_q(self.to_q(x)))
        if isinstance(text[0], Tensor):
            output = _attend(query, text)
        else:
            each = zip(query.split(1), text, strict=True)
            output = torch.cat([_attend(own, item) for own, item in each])
        return self.to_out[0](output.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
