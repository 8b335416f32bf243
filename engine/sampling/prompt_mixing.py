"""Keys and values of several prompts at weights.

Shapes: L text tokens, C width of the text encoder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sana_stream.engine.loading.model import TransformerCalls
from sana_stream.models.text_kv import MASKED, TextKV

Embedded = tuple[Tensor, Tensor]
"""Embeddings (1, L, C) of a prompt and its mask (1, L): 1 for a token, 0 for padding."""


def prepare_mix(
    transformer: TransformerCalls, embedded: Sequence[Embedded], shares: Sequence[float]
) -> TextKV:
    """The keys and values of a mixture of prompts; of one prompt they are its own, bit for bit.

    The tokens of all prompts are attended to at once, and the share of a prompt is the weight of
    its tokens in the softmax. So cross attention interpolates between what it gives for each prompt
    alone, whatever their lengths and the order of their words; and mixtures of mixtures are
    mixtures of their prompts.

    As long as the tokens of all prompts fit into the length of one, the mixture has its shape, for
    which layers are compiled and graphs captured; else a multiple of that length.

    Args:
        transformer: projects the embeddings.
        embedded: of each prompt, all of the same L.
        shares: of each prompt, above 0; they add up to 1.
    """
    if len(embedded) == 1:
        return transformer.prepare_text(*embedded[0])
    tokens = [embeds[:, mask[0].cpu().bool()] for embeds, mask in embedded]
    counts = [part.shape[1] for part in tokens]
    length = embedded[0][0].shape[1]
    padding = -sum(counts) % length
    embeds = F.pad(torch.cat(tokens, dim=1), (0, 0, 0, padding))
    mask = torch.ones(1, sum(counts), dtype=torch.long, device=embeds.device)
    text = transformer.prepare_text(embeds, F.pad(mask, (0, padding)))
    weights = [
        math.log(share) for share, count in zip(shares, counts, strict=True) for _ in range(count)
    ]
    kept = text.keys[0].shape[2]
    bias = torch.tensor([*weights, *[MASKED] * padding][:kept], dtype=text.keys[0].dtype)
    return text._replace(bias=bias.to(embeds.device)[None, None, None])
