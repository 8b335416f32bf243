"""The supported transformers: reading a configuration, and creating its network."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from .attention import QK_NORM_EPS
from .config import TransformerConfig
from .hybrid.config import CLASS_NAME, HybridConfig
from .hybrid.transformer import HybridRotation, HybridTransformer
from .rope import RotaryEmbedding
from .transformer import SanaVideoTransformer

VideoTransformer = SanaVideoTransformer | HybridTransformer
VideoTransformerConfig = TransformerConfig | HybridConfig
Rotation = RotaryEmbedding | HybridRotation

_SIGNATURE = "attn_res.final_proj.weight"  # only SANA-Video 2.0 has it, under either layout's names


def read_config(values: Mapping[str, Any], where: object) -> VideoTransformerConfig:
    """Read the configuration in a parsed `config.json`; messages name it as `where`.

    Raises:
        ConfigError: an unsupported class, or a value that its model does not implement.
    """
    if values.get("_class_name") == CLASS_NAME:
        return HybridConfig.from_dict(values, where)
    return TransformerConfig.from_dict(values, where)


def build_transformer(
    config: VideoTransformerConfig, cross_norm_eps: float = QK_NORM_EPS
) -> VideoTransformer:
    """Create the network of a configuration, on torch's default device, uninitialized.

    Args:
        config: its shapes.
        cross_norm_eps: of cross attention's norms; SANA-Video 2.0 always has its own.
    """
    if isinstance(config, HybridConfig):
        return HybridTransformer(config)
    return SanaVideoTransformer(config, cross_norm_eps)


def is_hybrid(names: Container[str]) -> bool:
    """Whether a collection of tensor names is that of SANA-Video 2.0."""
    return _SIGNATURE in names
