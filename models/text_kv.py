"""Prompts as keys and values of every layer.

Shapes: B batch, L text tokens, H heads, d head width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from .fp8 import input_dtype

TEXT_NORM_EPS = 1e-5
MASKED = -10000.0  # added to the score of a padding token, as in training


TextLayer = tuple[Tensor, Tensor, Tensor | None]
"""Keys and values (B, H, L, d) of one layer, and the bias (B, 1, 1, L)."""


class TextKV(NamedTuple):
    """Text keys and values of every layer, computed once per prompt."""

    keys: tuple[Tensor, ...]  # one (B, H, L, d) a layer
    values: tuple[Tensor, ...]  # one (B, H, L, d) a layer
    bias: Tensor | None  # (B, 1, 1, L), 0 or MASKED; None where no token is padding

    def layer(self, index: int) -> TextLayer:
        """Keys, values and bias of one layer."""
        return self.keys[index], self.values[index], self.bias


class TextBatch(NamedTuple):
    """The prompts of a batch, one for each item, of any lengths."""

    items: tuple[TextKV, ...]  # each of batch 1

    def layer(self, index: int) -> tuple[TextLayer, ...]:
        """Keys, values and bias of one layer, for each item."""
        return tuple(item.layer(index) for item in self.items)


def project_text(network: Any, embeds: Tensor, mask: Tensor, keep_padding: bool) -> TextKV:
    """Compute the keys and values of a prompt, for any transformer with these parts.

    Args:
        network: has `caption_projection`, `caption_norm`, `layers` with `attn2`, and `proj_out`.
        embeds, mask, keep_padding: as for `SanaVideoTransformer.prepare_text`.
    """
    length, padded = embeds.shape[1], True
    if not keep_padding:
        tokens = mask.bool().cpu()  # one read of the device
        length = int(tokens.any(dim=0).nonzero().max()) + 1
        padded = not bool(tokens[:, :length].all())
    dtype = input_dtype(network.proj_out)
    text = network.caption_norm(network.caption_projection(embeds[:, :length].to(dtype)))
    pairs = [layer.attn2.keys_values(text) for layer in network.layers]
    bias = (1 - mask[:, None, None, :length].to(dtype)) * MASKED if padded else None
    keys, values = zip(*pairs, strict=True)
    return TextKV(keys, values, bias)
