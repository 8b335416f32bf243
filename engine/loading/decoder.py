"""The decoder's dtype; TAEHV, the small decoder: finding its file, compatibility."""

from __future__ import annotations

from pathlib import Path

import torch

from sana_stream._arguments import ARGUMENTS, shown
from sana_stream._text import safe_text
from sana_stream.engine.device import resolve_dtype
from sana_stream.errors import ConfigError
from sana_stream.models.vae.config import WanVAEConfig
from sana_stream.models.vae.ltx2 import LTX2VAEConfig
from sana_stream.models.vae.registry import VideoDecoderConfig, VideoVAEConfig
from sana_stream.models.vae.taehv import TAEHVConfig
from sana_stream.models.weights.load import is_weights_file

from .locate import HubModel, existing_path

TINY = "tiny"
_GIVE = (
    f'give decoder="{TINY}=FILE", with TAEHV\'s taew2_1.pth (github.com/madebyollin/taehv), or the'
    " hub id of a file, such as Kijai/WanVideo_comfy/taew2_1.safetensors"
)


def locate_decoder(decoder: str) -> Path:
    """Find the file of the small decoder.

    Args:
        decoder: "tiny=FILE", a .pth, .pt or .safetensors file in TAEHV's layout for Wan 2.1, or
            "tiny=owner/name/file[@revision]" on the hub.

    Raises:
        ConfigError: anything else, or no such file.
    """
    kind, _, place = ARGUMENTS.word("decoder", decoder).partition("=")
    if kind != TINY:
        raise ConfigError(f"decoder {shown(decoder)} is not known; leave it out, or {_GIVE}")
    if not place:
        raise ConfigError(f"the {TINY} decoder does not come with this program; {_GIVE}")
    path = existing_path(ARGUMENTS.path("decoder", place))
    if path is not None and not path.is_dir():
        if not is_weights_file(path):
            raise ConfigError(f"{safe_text(path)} is not a decoder's weights; {_GIVE}")
        return path
    hub = HubModel.parse(place)
    if hub is None or not hub.file:
        raise ConfigError(f"{safe_text(place)} is no file; {_GIVE}")
    return hub.fetch()


def resolve_decoder_dtype(
    dtype: str | torch.dtype, device: torch.device, config: VideoDecoderConfig
) -> torch.dtype:
    """The decoder's dtype: as `resolve_dtype`, but "auto" is float16 on CUDA without bfloat16.

    The LTX-2 VAE, which overflows in float16, and the transformer are in float32 there.
    """
    chosen = resolve_dtype(dtype, device)
    slow = dtype == "auto" and device.type == "cuda" and chosen == torch.float32
    return torch.float16 if slow and not isinstance(config, LTX2VAEConfig) else chosen


def check_decoder(vae: VideoVAEConfig, model: str) -> None:
    """Check that a model's latents are those that the small decoder was trained on.

    Args:
        vae: the configuration of the model's own VAE.
        model: its name, for the message.

    Raises:
        ConfigError: the latents are of another VAE; the message gives both shapes.
    """
    tiny = TAEHVConfig()
    wanted = (tiny.z_dim, tiny.temporal_factor, tiny.spatial_factor)
    given = (vae.z_dim, vae.temporal_factor, vae.spatial_factor)
    if given != wanted:
        raise ConfigError(
            f"the {TINY} decoder decodes latents of {_latents(*wanted)}, {model}'s VAE has"
            f" {_latents(*given)}; leave decoder out"
        )
    if not isinstance(vae, WanVAEConfig) or vae.patch != 1:
        raise ConfigError(
            f"the {TINY} decoder decodes latents of the Wan 2.1 VAE, {model} has a VAE of its own;"
            " leave decoder out"
        )


def _latents(channels: int, frames: int, side: int) -> str:
    return f"{channels} channels, {frames} frames and {side}x{side} pixels each"
