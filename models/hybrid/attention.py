"""Gated linear attention and gated softmax attention over the tokens of a whole clip.

Shapes: B batch, N tokens of the clip, H heads, d head width, D = H*d.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sana_stream.models.rope import RotaryEmbedding, apply_rotary_emb

QK_NORM_EPS = 1e-5
OUTPUT_NORM_EPS = 1e-5


class GatedAttention(nn.Module):
    """Projections, norms and output gate that both kinds of layers have."""

    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.heads = width // head_dim
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.norm_q = nn.RMSNorm(width, eps=QK_NORM_EPS)
        self.norm_k = nn.RMSNorm(width, eps=QK_NORM_EPS)
        self.to_gate = nn.Linear(width, width)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def features(self, x: Tensor, rotation: RotaryEmbedding) -> tuple[Tensor, Tensor, Tensor]:
        """Project tokens x to rotated query, rotated key and value: float32 (B, N, H, d)."""
        heads = (self.heads, -1)
        query = self.norm_q(self.to_q(x)).unflatten(-1, heads).float()
        key = self.norm_k(self.to_k(x)).unflatten(-1, heads).float()
        value = self.to_v(x).unflatten(-1, heads).float()
        return apply_rotary_emb(query, rotation), apply_rotary_emb(key, rotation), value

    def gated(self, attended: Tensor, x: Tensor) -> Tensor:
        """Gate the attention's output (B, N, D) by its input x, and project it."""
        return self.to_out[0](attended.to(x.dtype) * torch.sigmoid(self.to_gate(x)))


class GatedLinearAttention(GatedAttention):
    """Linear attention without a denominator: `S = sum of beta v rope(k)^T`, `o = S rope(q)`.

    A root mean square norm of each head follows. The authors trained with a denominator, a
    positive number for each token and head, which that norm cancels; their published code leaves
    it out. The norm is computed in float32, so large sums cannot overflow in float16.
    """

    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__(width, head_dim)
        self.to_beta = nn.Linear(width, self.heads)
        self.norm_out = nn.RMSNorm(head_dim, eps=OUTPUT_NORM_EPS)

    def forward(self, x: Tensor, rotation: RotaryEmbedding) -> Tensor:
        """Map tokens x (B, N, D) to the output (B, N, D)."""
        query, key, value = self.features(x, rotation)
        beta = torch.sigmoid(self.to_beta(x)).float().unsqueeze(-1)  # (B, N, H, 1)
        keys = (key * beta).permute(0, 2, 3, 1)  # (B, H, d, N)
        sums = keys @ value.transpose(1, 2)  # (B, H, d, d), value channels last
        output = (query.transpose(1, 2) @ sums).transpose(1, 2)  # (B, N, H, d)
        norm = self.norm_out
        normed = F.rms_norm(output, norm.normalized_shape, eps=norm.eps) * norm.weight.float()
        return self.gated(normed.flatten(2), x)


class GatedSoftmaxAttention(GatedAttention):
    """Softmax attention of every token to every token, computed in the dtype of the weights."""

    def forward(self, x: Tensor, rotation: RotaryEmbedding) -> Tensor:
        """Map tokens x (B, N, D) to the output (B, N, D)."""
        query, key, value = (part.to(x.dtype) for part in self.features(x, rotation))
        output = dense_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
        return self.gated(output.transpose(1, 2).flatten(2), x)


def dense_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend from every token to every token; all are (B, H, N, d).

    On the meta device the fused kernel is called by its name: memory and operations are estimated
    there, and the general form would count N x N scores, which no fused kernel allocates.
    """
    if query.is_meta:
        return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)[0]
    return F.scaled_dot_product_attention(query, key, value)
