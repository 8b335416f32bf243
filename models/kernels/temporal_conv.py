"""The temporal convolution of the feed-forward as matrix products that add to one result.

The reference is `FeedForward.temporal_conv`, which joins each frame with its neighbours first.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.library.custom_op("sana_stream::temporal_conv", mutates_args=())
def temporal_conv(x: Tensor, conv_state: Tensor, weight: Tensor) -> Tensor:
    """Add the convolution over (previous, current, next frame) to x.

    The frame after the last is zero, so it takes no product.

    Args:
        x: (B, T, P, D).
        conv_state: the frame before the first, (B, P, D).
        weight: (D, D, 3, 1), adjacent along the input channels.
    """
    previous, current, following = weight.squeeze(-1).permute(2, 1, 0)  # each (D in, D out)
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    for total, clip, before in zip(out, x, conv_state.to(x.dtype), strict=True):
        # each a matrix of tokens: frames are adjacent in memory
        torch.addmm(clip.flatten(0, 1), clip.flatten(0, 1), current, out=total.flatten(0, 1))
        total[0].addmm_(before, previous)
        if len(clip) > 1:
            total[1:].flatten(0, 1).addmm_(clip[:-1].flatten(0, 1), previous)
            total[:-1].flatten(0, 1).addmm_(clip[1:].flatten(0, 1), following)
    return out


@temporal_conv.register_fake
def _(x: Tensor, conv_state: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(x.shape)
