"""Attention residuals: the input of each sublayer is a weighted mean over depth.

Sources are the embedded tokens and, for every `attn_res_block_size` layers, the sum of their
updates. Each token attends to its own sources: `w = softmax over sources of (query . norm(source))`
with one learned query for all attention sublayers, one for all feed-forwards and one for the
output (Attention Residuals, arXiv 2603.15031, in the block form).

Shapes: B batch, N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KEY_NORM_EPS = 1e-6


class Source(NamedTuple):
    """A representation of the tokens at some depth, and how each query scores it."""

    tokens: Tensor  # (B, N, D)
    scores: Tensor  # float32 (B, N, 3): for attention, feed-forward and output


ATTENTION, FEED_FORWARD, OUTPUT = range(3)  # of a source's scores


class DepthQuery(nn.Module):
    """One learned query, under the published name of a projection to one number."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, width))


class AttentionResidual(nn.Module):
    """The three queries, shared by all layers; parameters named as in the published files."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn_proj = DepthQuery(width)
        self.mlp_proj = DepthQuery(width)
        self.final_proj = DepthQuery(width)

    def source(self, tokens: Tensor) -> Source:
        """Score tokens (B, N, D) by all three queries, once for all later layers."""
        queries = torch.cat((self.attn_proj.weight, self.mlp_proj.weight, self.final_proj.weight))
        keys = F.rms_norm(tokens, tokens.shape[-1:], eps=KEY_NORM_EPS)
        return Source(tokens, F.linear(keys, queries).float())


def mix(sources: Sequence[Source], query: int) -> Tensor:
    """Compute the weighted mean of sources: (B, N, D), in their dtype.

    Args:
        sources: at least one; a single one is returned unchanged.
        query: `ATTENTION`, `FEED_FORWARD` or `OUTPUT`.
    """
    if len(sources) == 1:
        return sources[0].tokens
    scores = torch.stack([source.scores[..., query] for source in sources])
    weights = torch.softmax(scores, dim=0).unsqueeze(-1)  # float32 (sources, B, N, 1)
    total = weights[0] * sources[0].tokens
    for weight, source in zip(weights[1:], sources[1:], strict=True):
        total = torch.addcmul(total, weight, source.tokens.float())
    return total.to(sources[0].tokens.dtype)
