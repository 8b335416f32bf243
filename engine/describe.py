"""What a model folder says about itself before its weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..models.checkpoint import read_json
from ..models.config import TransformerConfig
from ..models.vae_config import VaeConfig
from .locate import locate_model
from .preset import Preset, preset_of


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """A model's defaults and the sizes that it can take."""

    preset: Preset
    size_multiple: tuple[int, int]  # pixels down and across that a size must be a multiple of
    temporal_factor: int  # pictures per latent frame


def describe_model(model: str | Path) -> ModelDescription:
    """Read the configuration files of a model, so that a request can be refused at once.

    Raises `ConfigError` for an unknown model, `CheckpointError` for a folder without its parts.
    """
    folder = locate_model(model)
    preset = preset_of(folder, str(model))
    vae = VaeConfig.from_dict(read_json(folder / "vae" / "config.json"))
    transformer = TransformerConfig.from_dict(read_json(folder / "transformer" / "config.json"))
    _, down, across = transformer.patch_size
    factor = vae.spatial_factor
    return ModelDescription(preset, (down * factor, across * factor), vae.temporal_factor)
