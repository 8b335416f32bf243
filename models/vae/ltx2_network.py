"""Encoder and decoder of the LTX-2 VAE, under the parameter names of AutoencoderKLLTX2Video."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sana_stream.errors import ConfigError

from .config import check_latents
from .layers import ConvCache, StreamingLayer, Tails, run_layers
from .ltx2_layers import DownBlock, MidBlock, TemporalConv, UpBlock, normalized_silu
from .ltx2_layout import LTX2Layout
from .wan import fold, unfold


class _Coder(StreamingLayer, ABC):
    """Base of encoder and decoder: layers between a convolution and a normalised one."""

    conv_in: TemporalConv
    conv_out: TemporalConv
    fused = False  # set by `set_kernels`

    @property
    @abstractmethod
    def layers(self) -> Iterable[StreamingLayer]:
        """The layers in the order of their calls."""

    def forward(self, x: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        x, kept = run_layers((self.conv_in, *self.layers), x, tails)
        x = normalized_silu(x, self.fused)
        x, tail = self.conv_out(x, tails)
        return x, (*kept, *tail)


class Encoder(_Coder):
    """Causal encoder: folded frames (B, 3·p², T, H/p, W/p) to (B, z_dim + 1, T', h, w).

    The last channel is the log variance of all others.
    """

    def __init__(self, layout: LTX2Layout) -> None:
        super().__init__()
        padding, eps, dim = layout.down_padding, layout.norm_eps, layout.down[-1].out_dim
        self.conv_in = TemporalConv(3 * layout.patch**2, layout.down[0].dim, padding, True)
        self.down_blocks = nn.ModuleList(DownBlock(level, eps, padding) for level in layout.down)
        self.mid_block = MidBlock(dim, layout.down_middle, eps, padding, True)
        self.conv_out = TemporalConv(dim, layout.z_dim + 1, padding, True)

    @property
    def layers(self) -> Iterable[StreamingLayer]:
        return (*self.down_blocks, self.mid_block)  # type: ignore[return-value]


class Decoder(_Coder):
    """Decoder: (B, z_dim, T', h, w) to folded frames (B, 3·p², T, H/p, W/p)."""

    def __init__(self, layout: LTX2Layout) -> None:
        super().__init__()
        padding, eps, causal = layout.up_padding, layout.norm_eps, layout.causal
        dim = layout.up_dim
        self.conv_in = TemporalConv(layout.z_dim, dim, padding, causal)
        self.mid_block = MidBlock(dim, layout.up_middle, eps, padding, causal)
        self.up_blocks = nn.ModuleList(UpBlock(level, eps, padding, causal) for level in layout.up)
        self.conv_out = TemporalConv(layout.up[-1].out_dim, 3 * layout.patch**2, padding, causal)

    @property
    def layers(self) -> Iterable[StreamingLayer]:
        return (self.mid_block, *self.up_blocks)  # type: ignore[return-value]


class LTX2Network(nn.Module):
    """Encoder, decoder and the statistics of latents; keeps no state of a stream.

    Args:
        layout: sizes.
        encoder: whether the network has an encoder.
    """

    latents_mean: Tensor  # (z_dim,)
    latents_std: Tensor  # (z_dim,)

    def __init__(self, layout: LTX2Layout, encoder: bool = True) -> None:
        super().__init__()
        self.layout = layout
        if encoder:
            self.encoder = Encoder(layout)
        self.decoder = Decoder(layout)
        self.register_buffer("latents_mean", torch.zeros(layout.z_dim))
        self.register_buffer("latents_std", torch.ones(layout.z_dim))

    @property
    def decoder_dtype(self) -> torch.dtype:
        """The dtype that the decoder computes in."""
        return self.decoder.conv_in.conv.weight.dtype

    def encode(self, folded: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        """Encode the output of `fold_frames`: float32 latents (B, z_dim, T', h, w), normalised."""
        moments, kept = self.encoder(folded, tails)
        shift, scale = self._statistics(folded.device)
        return (moments[:, : self.layout.z_dim].float() - shift) / scale, kept

    def fold_frames(self, frames: Tensor) -> Tensor:
        """Convert frames to the encoder's input, and move the encoder to their device."""
        self.encoder.to(device=frames.device)
        return fold(frames.to(self.encoder.conv_in.conv.weight.dtype), self.layout.patch)

    def denormalize(self, latents: Tensor) -> Tensor:
        """Check normalised latents and convert them to the input of `decode`.

        Raises:
            ConfigError: another shape, or fewer pixels than the padding needs.
        """
        check_latents(latents, self.layout.z_dim)
        _check_grid(latents, self.layout)
        shift, scale = self._statistics(latents.device)
        return (latents.float() * scale + shift).to(self.decoder_dtype)

    def decode(self, prepared: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        """Decode the output of `denormalize`: float32 frames (B, 3, T, H, W), not clamped."""
        x, kept = self.decoder(prepared, tails)
        return unfold(x, self.layout.patch).float(), kept

    def _statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        mean, std = (
            values.to(device, torch.float32).view(1, -1, 1, 1, 1)
            for values in (self.latents_mean, self.latents_std)
        )
        return mean, std / self.layout.scaling_factor


def _check_grid(latents: Tensor, layout: LTX2Layout) -> None:
    height, width = latents.shape[-2:]
    if layout.up_padding == "reflect" and min(height, width) < 2:
        side = 2 * layout.spatial_factor
        raise ConfigError(
            f"latents of {height}x{width} pixels; this decoder needs 2x2 or more:"
            f" give a size of {side}x{side} or more"
        )
