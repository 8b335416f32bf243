"""The supported VAEs and decoders: reading a configuration, and creating its network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sana_stream._text import safe_text
from sana_stream.errors import ConfigError

from .causal_ltx2 import CausalLTX2Decoder, CausalLTX2VAE
from .config import WanVAEConfig
from .ltx2 import LTX2VAE
from .ltx2_config import CausalLTX2Config, LTX2VAEConfig, read_ltx2_config
from .taehv import TAEHVConfig, TAEHVDecoder
from .wan import WanVAE

VideoVAE = WanVAE | LTX2VAE | CausalLTX2VAE
VideoVAEConfig = WanVAEConfig | LTX2VAEConfig | CausalLTX2Config
WAN = "AutoencoderKLWan"
LTX_2 = ("AutoencoderKLLTX2Video", "AutoencoderKLCausalLTX2Video")  # diffusers', NVlabs'
DEEP = "AutoencoderDC"


def read_vae_config(values: Mapping[str, Any], where: object = "VAE config") -> VideoVAEConfig:
    """Read the configuration in a parsed `vae/config.json`; messages name it as `where`.

    Raises:
        ConfigError: an unsupported VAE class, or settings that contradict each other.
    """
    kind = values.get("_class_name", WAN)
    if kind == WAN:
        return WanVAEConfig.from_dict(values, where)
    if kind in LTX_2:
        return read_ltx2_config(values, where)
    hint = ""
    if isinstance(kind, str) and kind.startswith(DEEP):
        hint = ": diffusers (0.42) has it for single images only, not for video (DC-AE-V)"
    usable = f"{WAN}, {' and '.join(LTX_2)}"
    given = safe_text(kind, 80)
    raise ConfigError(
        f"{safe_text(where)}: the VAE is of the class {given}{hint}; {usable} can be used"
    )


def build_vae(config: VideoVAEConfig) -> VideoVAE:
    """Create the VAE of a configuration, on torch's default device, with uninitialized weights."""
    if isinstance(config, WanVAEConfig):
        return WanVAE(config)
    return LTX2VAE(config) if isinstance(config, LTX2VAEConfig) else CausalLTX2VAE(config)


SeparateDecoder = TAEHVDecoder | CausalLTX2Decoder  # may decode in place of a model's own VAE
SeparateDecoderConfig = TAEHVConfig | CausalLTX2Config
VideoDecoder = VideoVAE | SeparateDecoder
VideoDecoderConfig = VideoVAEConfig | TAEHVConfig


def build_separate_decoder(config: SeparateDecoderConfig) -> SeparateDecoder:
    """Create a decoder without an encoder, as `build_vae`."""
    return TAEHVDecoder() if isinstance(config, TAEHVConfig) else CausalLTX2Decoder(config)


def build_decoder(config: VideoDecoderConfig) -> VideoDecoder:
    """Create what decodes the latents of a configuration, as `build_vae`."""
    if isinstance(config, TAEHVConfig | CausalLTX2Config):
        return build_separate_decoder(config)
    return build_vae(config)
