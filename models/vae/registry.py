"""The supported VAEs and decoders: reading a configuration, and creating its network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sana_stream._text import safe_text
from sana_stream.errors import ConfigError

from .config import WanVAEConfig
from .ltx2 import CLASSES, LTX2VAE, LTX2VAEConfig
from .taehv import TAEHVConfig, TAEHVDecoder
from .wan import WanVAE

VideoVAE = WanVAE | LTX2VAE
VideoVAEConfig = WanVAEConfig | LTX2VAEConfig
WAN = "AutoencoderKLWan"
DEEP = "AutoencoderDC"


def read_vae_config(values: Mapping[str, Any], where: object = "VAE config") -> VideoVAEConfig:
    """Read the configuration in a parsed `vae/config.json`; messages name it as `where`.

    Raises:
        ConfigError: an unsupported VAE class, or settings that contradict each other.
    """
    kind = values.get("_class_name", WAN)
    if kind == WAN:
        return WanVAEConfig.from_dict(values, where)
    if kind in CLASSES:
        return LTX2VAEConfig.from_dict(values, where)
    hint = ""
    if isinstance(kind, str) and kind.startswith(DEEP):
        hint = ": diffusers (0.42) has it for single images only, not for video (DC-AE-V)"
    usable = " and ".join((WAN, *CLASSES))
    given = safe_text(kind, 80)
    raise ConfigError(
        f"{safe_text(where)}: the VAE is of the class {given}{hint}; {usable} can be used"
    )


def vae_class(config: VideoVAEConfig) -> str:
    """The diffusers class of a VAE."""
    return WAN if isinstance(config, WanVAEConfig) else CLASSES[0]


def build_vae(config: VideoVAEConfig) -> VideoVAE:
    """Create the VAE of a configuration, on torch's default device, with uninitialized weights."""
    return WanVAE(config) if isinstance(config, WanVAEConfig) else LTX2VAE(config)


VideoDecoder = VideoVAE | TAEHVDecoder
VideoDecoderConfig = VideoVAEConfig | TAEHVConfig


def build_decoder(config: VideoDecoderConfig) -> VideoDecoder:
    """Create the decoder of a configuration, on torch's default device, as `build_vae`."""
    return TAEHVDecoder() if isinstance(config, TAEHVConfig) else build_vae(config)
