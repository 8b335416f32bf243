"""Keys and values of several prompts at weights, by interpolation of their embeddings.

Shapes: L text tokens, C width of the text encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from sana_stream.engine.loading.model import TransformerCalls
from sana_stream.models.transformer import MASKED, TextKV

Embedded = tuple[Tensor, Tensor]
"""Embeddings (1, L, C) of a prompt and its mask (1, L): 1 for a token, 0 for padding."""

_ROUNDING = 1e-5  # of a sum of shares
_PARALLEL = 1e-4  # sine of an angle below which directions are interpolated linearly


def prepare_mix(
    transformer: TransformerCalls, embedded: Sequence[Embedded], shares: Sequence[float]
) -> TextKV:
    """The keys and values of a mixture of prompts; of one prompt they are its own, bit for bit.

    Each token is interpolated spherically (slerp) between the prompts that have a token at its
    place. Their total share is the weight of the token in the softmax, so a token that only some
    prompts have fades in and out. All prompts have the same L, and so has the mixture: a captured
    graph and compiled layers serve it too.

    Args:
        transformer: projects the embeddings.
        embedded: of each prompt.
        shares: of each prompt, above 0; they add up to 1.
    """
    if len(embedded) == 1:
        return transformer.prepare_text(*embedded[0])
    masks = torch.cat([mask for _, mask in embedded])  # (prompts, L)
    weights = masks * torch.tensor(shares, device=masks.device)[:, None]
    layers = [(part.float(), own) for (part, _), own in zip(embedded, weights, strict=True)]
    mixed, total = reduce(_mix_two, layers)
    text = transformer.prepare_text(mixed.to(embedded[0][0].dtype), masks.amax(0, keepdim=True))
    return text._replace(bias=_bias(total, text))


def _mix_two(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Interpolate embeddings (1, L, C) with weights (L); weights are added up.

    Where one has no weight the other one is taken as it is.
    """
    (a, a_weight), (b, b_weight) = one, other
    total = a_weight + b_weight
    share = (b_weight / total.clamp_min(torch.finfo(total.dtype).tiny))[:, None]
    mixed = torch.where(share < 1, torch.where(share > 0, slerp(a, b, share), a), b)
    return mixed, total


def slerp(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """Interpolate the directions of vectors (..., C) along the arc, and their lengths linearly.

    Args:
        a, b: float32 vectors.
        share: of `b`, (..., 1), 0 to 1.
    """
    lengths = [part.norm(dim=-1, keepdim=True) for part in (a, b)]
    a, b = (part / length.clamp_min(1e-12) for part, length in zip((a, b), lengths, strict=True))
    angle = torch.arccos((a * b).sum(-1, keepdim=True).clamp(-1, 1))
    sine = torch.sin(angle)
    arc = torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b
    direction = torch.where(
        sine < _PARALLEL, torch.lerp(a, b, share), arc / sine.clamp_min(_PARALLEL)
    )
    return direction * torch.lerp(*lengths, share)


def _bias(total: Tensor, text: TextKV) -> Tensor | None:
    """The logarithm of each token's weight (L), for the softmax: (1, 1, 1, tokens kept)."""
    kept = total[: text.keys[0].shape[2]]
    if text.bias is None and bool((kept > 1 - _ROUNDING).all()):
        return None
    weight = kept.to(text.keys[0].dtype)
    return torch.where(weight > 0, weight.log(), MASKED)[None, None, None]
