"""The Wan 2.1 causal video autoencoder, encoding and decoding as a stream.

Shapes: B batch, C = `z_dim`, T frames of H by W pixels, T' latent frames of h by w.
Computes what diffusers' AutoencoderKLWan computes, under the same parameter names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from sana_stream.models.upload import to_device

from .config import WanVAEConfig, check_frames, check_latents
from .layers import (
    ConvCache,
    MidBlock,
    ResidualBlock,
    RMSNorm,
    StreamingLayer,
    Tails,
    causal_conv,
    convolve,
    convolve_without_bias,
    frame_conv,
    join_normalized,
    join_tail,
    run_layers,
)
from .layout import empty_clip, from_frames, interleave_frames, join_frames, last_frames, to_frames
from .streaming import StreamingDecoder, VAECache, matching_tails


class Downsample(StreamingLayer):
    """Spatial downsampling by 2."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.resample = nn.Sequential(
            nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(dim, dim, 3, stride=(2, 2))
        )

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        return from_frames(self.resample(to_frames(x)), x.shape[0]), ()


class TemporalDownsample(Downsample):
    """Spatial and temporal downsampling by 2; the stream's first frame is kept as it is."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.time_conv = nn.Conv3d(dim, dim, (3, 1, 1), stride=(2, 1, 1))

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        x, _ = super().forward(x, None)
        if tails is not None:
            x, tail = causal_conv(self.time_conv, x, tails)
            return x, (tail,)
        first, rest = x[:, :, :1], x[:, :, 1:]
        if rest.shape[2] == 0:
            return first, (last_frames(first, 1),)
        rest, tail = causal_conv(self.time_conv, rest, [first])
        return join_frames(first, rest, 1, self.time_conv.weight), (tail,)


class _Coder(StreamingLayer, ABC):
    """Base of encoder and decoder: layers between a convolution and a normalised one."""

    conv_in: nn.Conv3d
    norm_out: RMSNorm
    conv_out: nn.Conv3d
    fused = False  # set by `set_kernels`

    @property
    @abstractmethod
    def layers(self) -> tuple[StreamingLayer, ...]:
        """The layers in the order of their calls."""

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        x, tail_in = causal_conv(self.conv_in, x, tails)
        x, kept = run_layers(self.layers, x, tails)
        if self.fused:
            x, tail_out = join_normalized(self.norm_out, self.conv_out, x, tails)
            x = convolve_without_bias(self.conv_out, x)
            x = x + self.conv_out.bias.view(1, -1, 1, 1, 1)  # type: ignore[union-attr]
        else:
            x, tail_out = join_tail(self.conv_out, F.silu(self.norm_out(x)), tails)
            x = convolve(self.conv_out, x)
        return x, (tail_in, *kept, tail_out)


class Encoder(_Coder):
    """Encoder: (B, in_channels, T, H, W) to mean and log variance (B, 2·z_dim, T', h, w)."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        dims = [config.base_dim * mult for mult in (1, *config.dim_mult)]
        self.conv_in = frame_conv(config.in_channels, dims[0])
        self.down_blocks = nn.ModuleList(_down_blocks(config, dims))
        self.mid_block = MidBlock(dims[-1], config.dropout)
        self.norm_out = RMSNorm(dims[-1])
        self.conv_out = frame_conv(dims[-1], 2 * config.z_dim)

    @property
    def layers(self) -> tuple[StreamingLayer, ...]:
        return (*self.down_blocks, self.mid_block)  # type: ignore[arg-type]


def _down_blocks(config: WanVAEConfig, dims: list[int]) -> list[StreamingLayer]:
    blocks: list[StreamingLayer] = []
    for level, (dim, out_dim) in enumerate(pairwise(dims)):
        for i in range(config.num_res_blocks):
            blocks.append(ResidualBlock(out_dim if i else dim, out_dim, config.dropout))
        if level < len(config.temperal_downsample):
            temporal = config.temperal_downsample[level]
            blocks.append(TemporalDownsample(out_dim) if temporal else Downsample(out_dim))
    return blocks


class Upsample(StreamingLayer):
    """Spatial upsampling by 2, with half the channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.resample = nn.Sequential(
            nn.Upsample(scale_factor=(2.0, 2.0), mode="nearest-exact"),
            nn.Conv2d(dim, dim // 2, 3, padding=1),
        )

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        return from_frames(self.resample(to_frames(x)), x.shape[0]), ()


class TemporalUpsample(Upsample):
    """Temporal and spatial upsampling by 2.

    The stream's first frame is not doubled, and the temporal convolution never sees it: its
    history begins, with zeros, at the second frame.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.time_conv = nn.Conv3d(dim, 2 * dim, (3, 1, 1))

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        if tails is not None:
            x, tail = self._double(x, tails)
        elif x.shape[2] > 1:
            x, tail = self._double(x[:, :, 1:], None, x[:, :, :1])
        else:
            tail = empty_clip(x, x.shape[1], 2, self.time_conv.weight).zero_()
        x, _ = super().forward(x, None)
        return x, (tail,)

    def _double(
        self, x: Tensor, tails: Tails | None, first: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Make two frames of each, after a first one where it is given."""
        pairs, tail = causal_conv(self.time_conv, x, tails)
        return interleave_frames(list(pairs.chunk(2, dim=1)), self.time_conv.weight, first), tail


class UpBlock(StreamingLayer):
    """Residual blocks, then an upsampler except at full resolution."""

    def __init__(self, dim: int, out_dim: int, config: WanVAEConfig, upsampler: Upsample | None):
        super().__init__()
        resnets = [ResidualBlock(dim, out_dim, config.dropout)]
        for _ in range(config.num_res_blocks):
            resnets.append(ResidualBlock(out_dim, out_dim, config.dropout))
        self.resnets = nn.ModuleList(resnets)
        self.upsamplers = nn.ModuleList([] if upsampler is None else [upsampler])

    def sequence(self) -> tuple[StreamingLayer, ...]:
        """Its layers in the order of their calls."""
        return (*self.resnets, *self.upsamplers)  # type: ignore[arg-type]

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        return run_layers(self.sequence(), x, tails)


class Decoder(_Coder):
    """Decoder: (B, z_dim, T', h, w) to (B, out_channels, T, H, W)."""

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        dims = [config.decoder_dim * m for m in (config.dim_mult[-1], *config.dim_mult[::-1])]
        self.conv_in = frame_conv(config.z_dim, dims[0])
        self.mid_block = MidBlock(dims[0], config.dropout)
        self.up_blocks = nn.ModuleList(_up_blocks(config, dims))
        self.norm_out = RMSNorm(dims[-1])
        self.conv_out = frame_conv(dims[-1], config.out_channels)

    @property
    def layers(self) -> tuple[StreamingLayer, ...]:
        return (self.mid_block, *self.up_blocks)  # type: ignore[arg-type]


def _up_blocks(config: WanVAEConfig, dims: list[int]) -> list[UpBlock]:
    temporal = config.temperal_downsample[::-1]
    blocks: list[UpBlock] = []
    for level, (dim, out_dim) in enumerate(pairwise(dims)):
        upsampler = None
        if level < len(temporal):
            upsampler = TemporalUpsample(out_dim) if temporal[level] else Upsample(out_dim)
        blocks.append(UpBlock(dim // 2 if level else dim, out_dim, config, upsampler))
    return blocks


class WanVAE(StreamingDecoder):
    """Video autoencoder: frames to normalised latents and back; keeps no state of a stream.

    Encoder and decoder compute in the dtype of their own parameters; normalisation is in float32.
    """

    def __init__(self, config: WanVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quant_conv = nn.Conv3d(2 * config.z_dim, 2 * config.z_dim, 1)
        self.post_quant_conv = nn.Conv3d(config.z_dim, config.z_dim, 1)
        self.decoder = Decoder(config)

    def encode(self, frames: Tensor, cache: VAECache | None = None) -> tuple[Tensor, VAECache]:
        """Encode the next frames of a stream to the posterior's mean.

        Args:
            frames: (B, 3, T, H, W) in [-1, 1]. T is 1 + k·n at the start of a stream and k·n
                later, where n is the config's `temporal_factor`.
            cache: the cache that the last call returned; `None` at the start of the stream.

        Returns:
            Float32 latents (B, C, T', h, w), one per n frames and one for the stream's first, and
            the cache for the next call.

        Raises:
            ConfigError: frames of another shape, or the cache of another stream.
        """
        check_frames(frames, self.config.temporal_factor, self.config.spatial_factor, cache is None)
        for part in (self.encoder, self.quant_conv):
            part.to(device=frames.device)
        x = fold(frames.to(self.quant_conv.weight.dtype), self.config.patch)
        moments, tails = self.encoder(x, matching_tails(cache, x))
        mean, _ = self.quant_conv(moments).chunk(2, dim=1)
        shift, scale = self._statistics(mean.device)
        return (mean.float() - shift) / scale, VAECache(tails)

    def denormalize(self, latents: Tensor) -> Tensor:
        """Check latents and convert them to the input of `decode_frames`."""
        check_latents(latents, self.config.z_dim)
        shift, scale = self._statistics(latents.device)
        return (latents.float() * scale + shift).to(self.post_quant_conv.weight.dtype)

    def decode_frames(self, prepared: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        """Decode the output of `denormalize`: float32 frames, not clamped, and the new tails."""
        x, kept = self.decoder(self.post_quant_conv(prepared), tails)
        return unfold(x, self.config.patch).float(), kept

    def _statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        # not buffers: a bfloat16 module must still normalise in float32
        values = torch.tensor((self.config.latents_mean, self.config.latents_std), device="cpu")
        mean, std = to_device(values, device).view(2, 1, -1, 1, 1, 1)
        return mean, std


def fold(frames: Tensor, p: int) -> Tensor:
    """Fold patches of `p` by `p` pixels into channels."""
    return rearrange(frames, "b c t (h ph) (w pw) -> b (c pw ph) t h w", ph=p, pw=p)


def unfold(x: Tensor, p: int) -> Tensor:
    """Unfold channels to patches of `p` by `p` pixels."""
    return rearrange(x, "b (c pw ph) t h w -> b c t (h ph) (w pw)", ph=p, pw=p)
