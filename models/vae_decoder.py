"""The Wan VAE's decoder: latents to pictures, piece by piece."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .vae_config import VaeConfig
from .vae_layers import (
    MidBlock,
    ResidualBlock,
    RMSNorm,
    StreamLayer,
    Tails,
    causal_conv,
    frame_conv,
    from_frames,
    run_layers,
    to_frames,
)


class Upsample(StreamLayer):
    """Pictures of twice the size and half the channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.resample = nn.Sequential(
            nn.Upsample(scale_factor=(2.0, 2.0), mode="nearest-exact"),
            nn.Conv2d(dim, dim // 2, 3, padding=1),
        )

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, Tails]:
        return from_frames(self.resample(to_frames(x)), x.shape[0]), ()


class TemporalUpsample(Upsample):
    """Every frame twice, then pictures of twice the size.

    The stream's first frame is not doubled, and the temporal convolution never sees it: its
    history begins, with zeros, at the second frame.
    """

    tail_count = 1

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.time_conv = nn.Conv3d(dim, 2 * dim, (3, 1, 1))

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, Tails]:
        if tails is not None:
            x, tail = self._double(x, tails[0])
        elif x.shape[2] > 1:
            rest, tail = self._double(x[:, :, 1:], None)
            x = torch.cat((x[:, :, :1], rest), dim=2)
        else:
            tail = torch.zeros_like(x).repeat(1, 1, 2, 1, 1)
        x, _ = super().forward(x, None)
        return x, (tail,)

    def _double(self, x: Tensor, tail: Tensor | None) -> tuple[Tensor, Tensor]:
        pairs, tail = causal_conv(self.time_conv, x, tail)
        return torch.stack(pairs.chunk(2, dim=1), dim=3).flatten(2, 3), tail


class UpBlock(StreamLayer):
    """Residual blocks, then an upsampler except at full size."""

    def __init__(self, dim: int, out_dim: int, config: VaeConfig, upsampler: Upsample | None):
        super().__init__()
        resnets = [ResidualBlock(dim, out_dim, config.dropout)]
        for _ in range(config.num_res_blocks):
            resnets.append(ResidualBlock(out_dim, out_dim, config.dropout))
        self.resnets = nn.ModuleList(resnets)
        self.upsamplers = nn.ModuleList([] if upsampler is None else [upsampler])
        self.tail_count = sum(layer.tail_count for layer in self.layers)

    @property
    def layers(self) -> tuple[StreamLayer, ...]:
        return (*self.resnets, *self.upsamplers)  # type: ignore[arg-type]

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, Tails]:
        return run_layers(self.layers, x, tails)


class Decoder(StreamLayer):
    """(B, z_dim, T', h, w) to (B, out_channels, T, H, W)."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        dims = [config.decoder_dim * m for m in (config.dim_mult[-1], *config.dim_mult[::-1])]
        self.conv_in = frame_conv(config.z_dim, dims[0])
        self.mid_block = MidBlock(dims[0], config.dropout)
        self.up_blocks = nn.ModuleList(_up_blocks(config, dims))
        self.norm_out = RMSNorm(dims[-1])
        self.conv_out = frame_conv(dims[-1], config.out_channels)

    @property
    def layers(self) -> tuple[StreamLayer, ...]:
        return (self.mid_block, *self.up_blocks)  # type: ignore[arg-type]

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, Tails]:
        x, tail_in = causal_conv(self.conv_in, x, None if tails is None else tails[0])
        x, kept = run_layers(self.layers, x, None if tails is None else tails[1:-1])
        x = F.silu(self.norm_out(x))
        x, tail_out = causal_conv(self.conv_out, x, None if tails is None else tails[-1])
        return x, (tail_in, *kept, tail_out)


def _up_blocks(config: VaeConfig, dims: list[int]) -> list[UpBlock]:
    temporal = config.temperal_downsample[::-1]
    blocks: list[UpBlock] = []
    for level, (dim, out_dim) in enumerate(pairwise(dims)):
        upsampler = None
        if level < len(temporal):
            upsampler = TemporalUpsample(out_dim) if temporal[level] else Upsample(out_dim)
        blocks.append(UpBlock(dim // 2 if level else dim, out_dim, config, upsampler))
    return blocks
