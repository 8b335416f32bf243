"""The Wan VAE's encoder: pictures to the latent distribution, piece by piece."""

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
    last_frames,
    run_layers,
    to_frames,
)


class Downsample(StreamLayer):
    """Pictures of half the size."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.resample = nn.Sequential(
            nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(dim, dim, 3, stride=(2, 2))
        )

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, Tails]:
        return from_frames(self.resample(to_frames(x)), x.shape[0]), ()


class TemporalDownsample(Downsample):
    """Pictures of half the size, then one frame out of two; the stream's first stays as it is."""

    tail_count = 1

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.time_conv = nn.Conv3d(dim, dim, (3, 1, 1), stride=(2, 1, 1))

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, Tails]:
        x, _ = super().forward(x, None)
        if tails is not None:
            x, tail = causal_conv(self.time_conv, x, tails[0])
            return x, (tail,)
        first, rest = x[:, :, :1], x[:, :, 1:]
        if rest.shape[2] == 0:
            return first, (last_frames(first, 1),)
        rest, tail = causal_conv(self.time_conv, rest, first)
        return torch.cat((first, rest), dim=2), (tail,)


class Encoder(StreamLayer):
    """(B, in_channels, T, H, W) to mean and log variance (B, 2·z_dim, T', h, w)."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        dims = [config.base_dim * mult for mult in (1, *config.dim_mult)]
        self.conv_in = frame_conv(config.in_channels, dims[0])
        self.down_blocks = nn.ModuleList(_down_blocks(config, dims))
        self.mid_block = MidBlock(dims[-1], config.dropout)
        self.norm_out = RMSNorm(dims[-1])
        self.conv_out = frame_conv(dims[-1], 2 * config.z_dim)

    @property
    def layers(self) -> tuple[StreamLayer, ...]:
        return (*self.down_blocks, self.mid_block)  # type: ignore[arg-type]

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, Tails]:
        x, tail_in = causal_conv(self.conv_in, x, None if tails is None else tails[0])
        x, kept = run_layers(self.layers, x, None if tails is None else tails[1:-1])
        x = F.silu(self.norm_out(x))
        x, tail_out = causal_conv(self.conv_out, x, None if tails is None else tails[-1])
        return x, (tail_in, *kept, tail_out)


def _down_blocks(config: VaeConfig, dims: list[int]) -> list[StreamLayer]:
    blocks: list[StreamLayer] = []
    for level, (dim, out_dim) in enumerate(pairwise(dims)):
        for i in range(config.num_res_blocks):
            blocks.append(ResidualBlock(out_dim if i else dim, out_dim, config.dropout))
        if level < len(config.temperal_downsample):
            temporal = config.temperal_downsample[level]
            blocks.append(TemporalDownsample(out_dim) if temporal else Downsample(out_dim))
    return blocks
