"""The gated convolutional feed-forward with its temporal convolution.

Shapes: B batch, T latent frames of the block, h w token rows and columns, P = h*w, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import TransformerConfig
from .fp8 import Activation, Fp8Linear, Quantized, chunk, flatten, shape_of

PARTS = 2  # of a block's frames, one after the other: hidden channels take six times their memory


class FeedForward(nn.Module):
    """Gated convolution of each frame, then a temporal convolution with a residual connection.

    Per frame: 1x1, SiLU, 3x3 depthwise, gate, 1x1. Over frames: kernel 3, added to its input.
    The temporal convolution is padded on the left with the last frame of the previous block's
    input to it (zeros before the first block), and on the right with zeros, as in training.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width, hidden = config.hidden_size, int(config.mlp_ratio * config.hidden_size)
        self.fused = False  # set by `SanaVideoTransformer.set_kernels`
        self.conv_inverted: nn.Conv2d | nn.Linear | Fp8Linear = nn.Conv2d(width, 2 * hidden, 1)
        self.conv_depth = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden)
        self.conv_point: nn.Conv2d | nn.Linear | Fp8Linear = nn.Conv2d(hidden, width, 1, bias=False)
        self.conv_temp: nn.Conv2d | Fp8Linear = nn.Conv2d(
            width, width, (3, 1), padding=(1, 0), bias=False
        )

    @property
    def takes_fp8(self) -> bool:
        """Whether the first product reads an input that is quantized to fp8."""
        return isinstance(self.conv_inverted, Fp8Linear)

    def forward(
        self, x: Activation, height: int, width: int, conv_state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Apply the feed-forward to tokens grouped by frame.

        Args:
            x: (B, T, P, D).
            height, width: token rows and columns, P = height * width.
            conv_state: (B, P, D), the last frame of the previous block's input to the temporal
                convolution.

        Returns:
            The output (B, T, P, D), and the `conv_state` (B, P, D) for the next block.
        """
        spatial = self.spatial_conv(x, height, width)
        temporal_conv = self.temporal_conv_in_place if self.fused else self.temporal_conv
        return temporal_conv(spatial, conv_state), spatial[:, -1]

    def spatial_conv(self, x: Activation, height: int, width: int) -> Tensor:
        """Apply the gated convolution to each frame: (B, T, P, D) to the same shape."""
        frames, shape = flatten(x, 0, 1), shape_of(x)
        if self.fused:
            out = self.conv_depth.weight.new_empty(shape)
            parts = zip(chunk(frames, PARTS), out.flatten(0, 1).chunk(PARTS), strict=True)
            for part, target in parts:
                self._spatial_conv_into(target, part, height, width)
            return out
        image = self.expand(frames, height, width)
        return self.project(self.conv_depth(image)).view(shape)

    def _spatial_conv_into(self, target: Tensor, x: Activation, height: int, width: int) -> None:
        """Write the gated convolution of tokens (n, P, D) to a tensor of the same shape."""
        depth, point = self.conv_depth, self.conv_point
        hidden = torch.ops.sana_stream.gated_depthwise(
            _pointwise(self.conv_inverted, x), depth.weight, depth.bias, height, width
        )
        if isinstance(point, nn.Conv2d):  # without a copy
            torch.mm(hidden.flatten(0, 1), point.weight.flatten(1).t(), out=target.flatten(0, 1))
        else:
            target.copy_(point(hidden))

    def expand(self, x: Activation, height: int, width: int) -> Tensor:
        """Expand tokens (n, P, D) to images (n, C, h, w) for the depthwise convolution."""
        hidden = F.silu(_pointwise(self.conv_inverted, x))
        # (n, h, w, C) permuted to (n, C, h, w) is the channels-last layout: no copy either way
        return hidden.unflatten(1, (height, width)).permute(0, 3, 1, 2)

    def project(self, image: Tensor) -> Tensor:
        """Gate the depthwise output (n, C, h, w) and project it to tokens (n, P, D)."""
        value, gate = image.permute(0, 2, 3, 1).chunk(2, dim=-1)
        return _pointwise(self.conv_point, value * F.silu(gate)).flatten(1, 2)

    def temporal_conv(self, x: Tensor, conv_state: Tensor) -> Tensor:
        """Add the temporal convolution to x (B, T, P, D); `conv_state` (B, P, D) precedes it."""
        neighbours = self.neighbours(x, conv_state)
        if isinstance(self.conv_temp, Fp8Linear):
            return x + self.conv_temp(neighbours)
        return x + F.linear(neighbours, self.temporal_matrix())

    def temporal_conv_in_place(self, x: Tensor, conv_state: Tensor) -> Tensor:
        """As `temporal_conv`, as products that add to one result; equal to rounding.

        Neither the neighbours are joined nor the frames padded, and the residual sum costs nothing.
        In fp8, whose products add to nothing, the neighbours are joined by what quantizes them.
        """
        if isinstance(self.conv_temp, Fp8Linear):
            neighbours = torch.ops.sana_stream.neighbours_fp8(x, conv_state)
            return self.conv_temp(Quantized(*neighbours)).add_(x)
        return torch.ops.sana_stream.temporal_conv(x, conv_state, self.conv_temp.weight)

    @staticmethod
    def neighbours(x: Tensor, conv_state: Tensor) -> Tensor:
        """Join each token with those of the previous and the next frame: (B, T, P, 3*D).

        `conv_state` (B, P, D) precedes x (B, T, P, D), and zeros follow it.
        """
        padded = torch.cat(
            (conv_state.unsqueeze(1).to(x.dtype), x, torch.zeros_like(x[:, :1])), dim=1
        )
        return torch.cat((padded[:, :-2], x, padded[:, 2:]), dim=-1)

    def temporal_matrix(self) -> Tensor:
        """Weight of the temporal convolution as one matrix (D, 3*D): previous, current, next."""
        return self.conv_temp.weight.squeeze(-1).transpose(1, 2).flatten(1)

    def set_layout(self) -> None:
        """Keep the temporal weight (D, D, 3, 1) as (D, 3, D) in memory: its matrix is a view."""
        assert isinstance(self.conv_temp, nn.Conv2d)
        weight = self.conv_temp.weight
        weight.data = weight.data.contiguous(memory_format=torch.channels_last)


def _pointwise(layer: nn.Conv2d | nn.Linear | Fp8Linear, x: Activation) -> Tensor:
    """Apply a 1x1 convolution to the last axis; in a quantized model it is a linear layer."""
    if isinstance(layer, nn.Conv2d):
        assert isinstance(x, Tensor)
        return F.linear(x, layer.weight.flatten(1), layer.bias)
    return layer(x)
