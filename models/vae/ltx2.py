"""VAEs of diffusers behind the streaming interface of `WanVAE`, by overlap.

Their decoders look at frames on both sides. A piece is decoded together with the last latent
frames before it, whose pictures are dropped; on its right the decoder sees nothing yet, as at the
end of a clip. So pieces begin as the whole decode does, and differ from it towards their ends.

LTX-2's decoder sees some ten latent frames on each side. With random weights of the published
depth and unrelated latents, the first pictures behind a seam are 40 % off behind 3 latent frames,
10 % behind 5, 4 % behind 6. To hold the last pictures back until as much is known on their right
would delay a stream by 3 s; a single latent frame more takes them from 102 % off to 77 %.
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
from sana_stream.models.schema import Schema, check_values, refuse_unknown, without_idle

from .config import check_frames, check_latents
from .wan import VAECache

OVERLAP = 6  # latent frames before a piece that are decoded with it, and thrown away
CLASSES = ("AutoencoderKLLTX2Video",)


LEVELS = 8  # at most, of sizes
_Count = Annotated[int, Field(ge=1, le=4096)]
_Counts = Annotated[list[_Count], Field(min_length=1, max_length=LEVELS)]
_Layers = Annotated[
    list[Annotated[int, Field(ge=1, le=32)]], Field(min_length=1, max_length=LEVELS)
]
_Words = Annotated[
    list[Annotated[str, Field(max_length=80)]], Field(min_length=1, max_length=LEVELS)
]
_Switches = bool | Annotated[list[bool], Field(max_length=LEVELS)]


class _Fields(Schema):
    """What each key may be; `None` where the file does not have it."""

    in_channels: _Count | None = None
    out_channels: _Count | None = None
    latent_channels: _Count | None = None
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
    upsample_factor: Annotated[list[Annotated[int, Field(ge=1, le=8)]], Field(max_length=LEVELS)] | None = None  # fmt: skip # noqa: E501
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
    """The sizes of a diffusers VAE, and the settings it is made from."""

    z_dim: int
    temporal_factor: int
    spatial_factor: int
    decoder_dim: int
    settings: str  # the checkpoint's own config.json, as text

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: object = "VAE config") -> Self:
        """Read a parsed `vae/config.json`; raises ConfigError for what cannot be streamed."""
        given, odd = without_idle(values, _Fields.model_fields)
        if odd:
            raise ConfigError(refuse_unknown(odd, where, _Fields.model_fields))
        check_values(_Fields, given, where)
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
        """How many latent frames back the decoder is shown."""
        return OVERLAP


class LTX2VAE(nn.Module):
    """Pictures to normalised latents and back, as `WanVAE` does it, by a VAE of diffusers."""

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
        except Exception as error:  # settings that contradict each other, in diffusers' words
            raise ConfigError(
                f"the VAE cannot be made from its settings: {safe_text(error)}"
            ) from error

    @property
    def decoder(self) -> nn.Module:
        """The half that makes pictures."""
        return self.inner.decoder

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Decode in this dtype; encoding stays in float32."""
        self.inner.float()
        self.inner.decoder.to(dtype)

    def decode_in_tiles(self) -> None:
        """Decode pictures larger than 512 pixels in overlapping tiles, to take less memory."""
        self.inner.enable_tiling()

    def encode(self, frames: Tensor, cache: VAECache | None = None) -> tuple[Tensor, VAECache]:
        """As `WanVAE.encode`; later pieces are encoded behind the last pictures before them."""
        check_frames(frames, self.config.temporal_factor, self.config.spatial_factor, cache is None)
        count = frames.shape[2] // self.config.temporal_factor + (cache is None)
        seen = frames if cache is None else torch.cat((cache.tails[0], frames), dim=2)
        mean = self.inner.encode(seen.float(), return_dict=False)[0].mode()[:, :, -count:]
        shift, scale = self._statistics(mean.device)
        kept = 1 + OVERLAP * self.config.temporal_factor
        return (mean.float() - shift) / scale, VAECache((seen[:, :, -kept:].clone(),))

    def decode(
        self, latents: Tensor, cache: VAECache | None = None, *, clamp: bool = True
    ) -> tuple[Tensor, VAECache]:
        """As `WanVAE.decode`, by overlap: not equal to decoding the whole, but close to it."""
        check_latents(latents, self.config.z_dim)
        seen = latents if cache is None else torch.cat((cache.tails[0], latents), dim=2)
        shift, scale = self._statistics(latents.device)
        dtype = next(self.inner.decoder.parameters()).dtype
        z = (seen.float() * scale + shift).to(dtype)
        frames = self.inner.decode(z, return_dict=False)[0].float()
        count = latents.shape[2] * self.config.temporal_factor
        if cache is None:
            count -= self.config.temporal_factor - 1  # the stream's first latent frame is one
        frames = frames[:, :, -count:]
        kept = VAECache((seen[:, :, -OVERLAP:].clone(),))
        return frames.clamp(-1, 1) if clamp else frames, kept

    def _statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        mean, std = self.inner.latents_mean, self.inner.latents_std
        shape = (1, -1, 1, 1, 1)
        return mean.float().view(shape).to(device), std.float().view(shape).to(device)
