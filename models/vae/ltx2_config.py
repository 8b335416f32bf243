"""Configurations of the LTX-2 VAEs, causal and not causal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from .ltx2_layout import LTX2Layout, read_layout

OVERLAP = 6  # latent frames before a chunk that are decoded with it where the decoder is not causal


@dataclass(frozen=True, slots=True)
class _LTX2Config:
    """Sizes of an LTX-2 VAE, and the settings it is built from."""

    z_dim: int
    temporal_factor: int
    spatial_factor: int
    decoder_dim: int
    settings: str  # the checkpoint's own config.json, as text

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: object = "VAE config") -> Self:
        """Read a parsed `vae/config.json`; raises ConfigError for what cannot be streamed."""
        layout = read_layout(values, where)
        return cls(
            z_dim=layout.z_dim,
            temporal_factor=layout.temporal_factor,
            spatial_factor=layout.spatial_factor,
            decoder_dim=min(values.get("decoder_block_out_channels") or (256,)),
            settings=json.dumps(dict(values), sort_keys=True),
        )

    @property
    def layout(self) -> LTX2Layout:
        """Sizes of encoder and decoder."""
        return read_layout(json.loads(self.settings))


@dataclass(frozen=True, slots=True)
class LTX2VAEConfig(_LTX2Config):
    """An LTX-2 VAE whose decoder looks at frames on both sides."""

    @property
    def decoder_context(self) -> int:
        """Number of earlier latent frames that the decoder is given."""
        return OVERLAP


@dataclass(frozen=True, slots=True)
class CausalLTX2Config(_LTX2Config):
    """An LTX-2 VAE whose decoder is causal."""

    @property
    def decoder_context(self) -> int:
        """Number of earlier latent frames on which a decoded frame can depend."""
        return self.layout.decoder_context


def read_ltx2_config(
    values: Mapping[str, Any], where: object = "VAE config"
) -> LTX2VAEConfig | CausalLTX2Config:
    """Read a parsed `vae/config.json` of either kind; `decoder_causal` is true where it is absent.

    Raises:
        ConfigError: an unsupported value, or values that contradict each other.
    """
    causal = values.get("decoder_causal") in (None, True)
    kind = CausalLTX2Config if causal else LTX2VAEConfig
    return kind.from_dict(values, where)
