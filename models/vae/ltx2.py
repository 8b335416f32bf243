"""Non-causal VAEs of diffusers with the streaming interface of `WanVAE`, by overlapping chunks.

Their decoders use frames on both sides. A chunk is decoded together with the latent frames before
it, and the frames of the overlap are dropped. On the right the decoder has no context, as at the
end of a clip. The beginning of a chunk therefore equals the decoding of the whole clip closely;
towards the end of a chunk the difference grows.

LTX-2's decoder uses about ten latent frames on each side. Measured with random weights of the
published depth and unrelated latents, the first frames after a seam differ by 40 % with an overlap
of 3 latent frames, 10 % with 5, 4 % with 6. Delaying the last frames until the context on their
right is known would delay a stream by 3 s; delaying by one latent frame lowers their difference
from 102 % to 77 % only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from sana_stream._text import safe_text
from sana_stream.errors import ConfigError
from sana_stream.models.schema import Schema, from_known_keys

from .config import MAX_LEVELS, Count, check_frames, check_latents
from .wan import VAECache

OVERLAP = 6  # latent frames before a chunk that are decoded with it, and dropped
CLASSES = ("AutoencoderKLLTX2Video",)

_Counts = Annotated[list[Count], Field(min_length=1, max_length=MAX_LEVELS)]
_Layers = Annotated[
    list[Annotated[int, Field(ge=1, le=32)]], Field(min_length=1, max_length=MAX_LEVELS)
]
_Words = Annotated[
    list[Annotated[str, Field(max_length=80)]], Field(min_length=1, max_length=MAX_LEVELS)
]
_Switches = bool | Annotated[list[bool], Field(max_length=MAX_LEVELS)]


class _Fields(Schema):
    """Allowed values of each key; `None` where the file does not have it."""

    in_channels: Count | None = None
    out_channels: Count | None = None
    latent_channels: Count | None = None
    block_out_channels: _Counts | None = None
    down_block_types: _Words | None = None
    decoder_block_out_channels: _Counts | None = None
    layers_per_block: _Layers | None = None
    decoder_layers_per_block: _Layers | None = None
    spatio_temporal_scaling: _Switches | None = None
    decoder_spatio_temporal_scaling: _Switches | None = None
    decoder_inject_noise: _Switches | None = None
    downsample_type: _Words | None = None
    upsample_type: _Words | None = None
    upsample_residual: _Switches | None = None
    upsample_factor: Annotated[list[Annotated[int, Field(ge=1, le=8)]], Field(max_length=MAX_LEVELS)] | None = None  # fmt: skip # noqa: E501
    timestep_conditioning: bool | None = None
    patch_size: Annotated[int, Field(ge=1, le=64)] | None = None
    patch_size_t: Annotated[int, Field(ge=1, le=64)] | None = None
    resnet_norm_eps: Annotated[float, Field(gt=0, lt=1)] | None = None
    scaling_factor: Annotated[float, Field(gt=0, le=1e6)] | None = None
    encoder_causal: bool | None = None
    decoder_causal: bool | None = None
    encoder_spatial_padding_mode: Annotated[str, Field(max_length=80)] | None = None
    decoder_spatial_padding_mode: Annotated[str, Field(max_length=80)] | None = None
    spatial_compression_ratio: Annotated[int, Field(ge=1, le=256)] | None = None
    temporal_compression_ratio: Annotated[int, Field(ge=1, le=256)] | None = None


@dataclass(frozen=True, slots=True)
class LTX2VAEConfig:
    """Sizes of a diffusers VAE, and the settings it is built from."""

    z_dim: int
    temporal_factor: int
    spatial_factor: int
    decoder_dim: int
    settings: str  # the checkpoint's own config.json, as text

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: object = "VAE config") -> Self:
        """Read a parsed `vae/config.json`; raises ConfigError for what cannot be streamed."""
        from_known_keys(_Fields, values, where)
        if values.get("timestep_conditioning"):
            raise ConfigError(
                f"{safe_text(where)} has timestep_conditioning true; only false works"
            )
        if values.get("patch_size_t") not in (None, 1):
            raise ConfigError(
                f"{safe_text(where)} has patch_size_t {values['patch_size_t']}; only 1 works"
            )
        return cls(
            z_dim=values.get("latent_channels") or 128,
            temporal_factor=values.get("temporal_compression_ratio") or 8,
            spatial_factor=values.get("spatial_compression_ratio") or 32,
            decoder_dim=min(values.get("decoder_block_out_channels") or (256,)),
            settings=json.dumps(dict(values), sort_keys=True),
        )

    @property
    def decoder_context(self) -> int:
        """Number of earlier latent frames that the decoder is given."""
        return OVERLAP


class LTX2VAE(nn.Module):
    """Diffusers' LTX-2 VAE with the interface of `WanVAE`: frames to latents and back."""

    def __init__(self, config: LTX2VAEConfig) -> None:
        super().__init__()
        try:
            from diffusers import AutoencoderKLLTX2Video
        except ImportError as error:
            raise ConfigError(
                "this model's VAE (AutoencoderKLLTX2Video) needs diffusers;"
                " pip install 'sana-stream[diffusers]'"
            ) from error
        self.config = config
        try:
            self.inner: Any = AutoencoderKLLTX2Video.from_config(json.loads(config.settings))
        except Exception as error:  # diffusers raises many types for contradictory settings
            raise ConfigError(
                f"the VAE cannot be built from its settings: {safe_text(error)}"
            ) from error

    @property
    def decoder(self) -> nn.Module:
        """The decoder network."""
        return self.inner.decoder

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Set the decoder's dtype; the encoder stays in float32."""
        self.inner.float()
        self.inner.decoder.to(dtype)

    def decode_in_tiles(self) -> None:
        """Decode frames larger than 512 pixels in overlapping tiles, which takes less memory."""
        self.inner.enable_tiling()

    def encode(self, frames: Tensor, cache: VAECache | None = None) -> tuple[Tensor, VAECache]:
        """Encode as `WanVAE.encode`; later chunks are encoded after the frames before them."""
        check_frames(frames, self.config.temporal_factor, self.config.spatial_factor, cache is None)
        count = frames.shape[2] // self.config.temporal_factor + (cache is None)
        context = frames if cache is None else torch.cat((cache.tails[0], frames), dim=2)
        mean = self.inner.encode(context.float(), return_dict=False)[0].mode()[:, :, -count:]
        shift, scale = self._statistics(mean.device)
        kept = 1 + OVERLAP * self.config.temporal_factor
        return (mean.float() - shift) / scale, VAECache((context[:, :, -kept:].clone(),))

    def decode(
        self, latents: Tensor, cache: VAECache | None = None, *, clamp: bool = True
    ) -> tuple[Tensor, VAECache]:
        """Decode as `WanVAE.decode`, by overlap: close to decoding the whole, not equal to it."""
        check_latents(latents, self.config.z_dim)
        context = latents if cache is None else torch.cat((cache.tails[0], latents), dim=2)
        shift, scale = self._statistics(latents.device)
        dtype = next(self.inner.decoder.parameters()).dtype
        z = (context.float() * scale + shift).to(dtype)
        frames = self.inner.decode(z, return_dict=False)[0].float()
        count = latents.shape[2] * self.config.temporal_factor
        if cache is None:
            count -= self.config.temporal_factor - 1  # the first latent frame is a single frame
        frames = frames[:, :, -count:]
        kept = VAECache((context[:, :, -OVERLAP:].clone(),))
        return frames.clamp(-1, 1) if clamp else frames, kept

    def _statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        mean, std = self.inner.latents_mean, self.inner.latents_std
        shape = (1, -1, 1, 1, 1)
        return mean.float().view(shape).to(device), std.float().view(shape).to(device)
