"""Which VAE a checkpoint has: Wan's, made here, or one of diffusers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import ConfigError
from .vae import WanVAE
from .vae_config import VaeConfig
from .vae_overlap import CLASSES, OverlapVAE, OverlapVaeConfig

AnyVae = WanVAE | OverlapVAE
AnyVaeConfig = VaeConfig | OverlapVaeConfig
WAN = "AutoencoderKLWan"
DEEP = "AutoencoderDC"


def read_vae_config(values: Mapping[str, Any]) -> AnyVaeConfig:
    """The configuration in a parsed `vae/config.json`.

    Raises:
        ConfigError: a VAE that cannot be used, or settings that contradict each other.
    """
    kind = values.get("_class_name", WAN)
    if kind == WAN:
        return VaeConfig.from_dict(values)
    if kind in CLASSES:
        return OverlapVaeConfig.from_dict(values)
    missing = ""
    if kind.startswith(DEEP):
        missing = ": diffusers (0.42) has it for single pictures alone, none for video (DC-AE-V)"
    usable = " and ".join((WAN, *CLASSES))
    raise ConfigError(f"the VAE is of the class {kind}{missing}; {usable} can be used")


def make_vae(config: AnyVaeConfig) -> AnyVae:
    """The VAE of a configuration, on torch's default device, without weights."""
    return WanVAE(config) if isinstance(config, VaeConfig) else OverlapVAE(config)
