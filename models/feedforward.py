"""The gated convolutional feed-forward with its temporal convolution.

Letters: B batch, T latent frames of the block, h w token rows and columns, P = h*w, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import TransformerConfig


class FeedForward(nn.Module):
    """Per frame 1x1, SiLU, 3x3 depthwise, gate, 1x1; then kernel 3 over frames, added to its input.

    The temporal convolution sees, left of the block, the last frame of the previous block's input
    to it (zero before the first block) and zero on the right, always: as it was trained.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width, hidden = config.hidden_size, int(config.mlp_ratio * config.hidden_size)
        self.conv_inverted: nn.Conv2d | nn.Linear = nn.Conv2d(width, 2 * hidden, 1)
        self.conv_depth = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden)
        self.conv_point: nn.Conv2d | nn.Linear = nn.Conv2d(hidden, width, 1, bias=False)
        self.conv_temp = nn.Conv2d(width, width, (3, 1), padding=(1, 0), bias=False)

    def forward(
        self, x: Tensor, height: int, width: int, conv_state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run on tokens by frame.

        Args:
            x: (B, T, P, D).
            height, width: token rows and columns, P = height * width.
            tail: (B, P, D), last frame of the previous block's input to the temporal convolution.

        Returns:
            (B, T, P, D), and this block's own tail (B, P, D).
        """
        spatial = self.spatial_conv(x, height, width)
        return self.temporal_conv(spatial, conv_state), spatial[:, -1]

    def spatial_conv(self, x: Tensor, height: int, width: int) -> Tensor:
        """The gated convolution of each frame alone: (B, T, P, D) to the same."""
        image = self.expand(x.flatten(0, 1), height, width)
        return self.project(self.conv_depth(image)).view_as(x)

    def expand(self, x: Tensor, height: int, width: int) -> Tensor:
        """Frames of tokens (n, P, D) to images (n, C, h, w) for the depthwise convolution."""
        hidden = F.silu(_pointwise(self.conv_inverted, x))
        # (n, h, w, C) seen as (n, C, h, w) is the channels-last layout: no copy either way
        return hidden.unflatten(1, (height, width)).permute(0, 3, 1, 2)

    def project(self, image: Tensor) -> Tensor:
        """What the depthwise convolution made, (n, C, h, w), gated, to tokens (n, P, D)."""
        value, gate = image.permute(0, 2, 3, 1).chunk(2, dim=-1)
        return _pointwise(self.conv_point, value * F.silu(gate)).flatten(1, 2)

    def temporal_conv(self, x: Tensor, conv_state: Tensor) -> Tensor:
        """Add the temporal convolution of x (B, T, P, D) to it, `tail` (B, P, D) on its left."""
        padded = torch.cat(
            (conv_state.unsqueeze(1).to(x.dtype), x, torch.zeros_like(x[:, :1])), dim=1
        )
        # one product over the frame before, the frame itself and the one after, side by side
        seen = torch.cat((padded[:, :-2], x, padded[:, 2:]), dim=-1)
        weight = self.conv_temp.weight.squeeze(-1).transpose(1, 2).flatten(1)  # (D, 3*D)
        return x + F.linear(seen, weight)


def _pointwise(layer: nn.Conv2d | nn.Linear, x: Tensor) -> Tensor:
    """A 1x1 convolution over the last axis; in a quantized model a linear layer stands for it."""
    if isinstance(layer, nn.Conv2d):
        return F.linear(x, layer.weight.flatten(1), layer.bias)
    return layer(x)
