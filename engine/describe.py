"""What a model folder says about itself before its weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..models.config import TransformerConfig
from ..models.decoder_any import AnyDecoderConfig
from ..models.tiny_decoder import TinyDecoderConfig
from ..models.transformer_file import read_transformer_config
from ..models.vae_any import read_vae_config
from ..models.weights import read_json
from .decoder import check_decoder, locate_decoder
from .locate import locate_model, locate_parts
from .preset import Preset, preset_of
from .vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """A model's defaults and the sizes that it can take."""

    preset: Preset
    size_multiple: tuple[int, int]  # pixels down and across that a size must be a multiple of
    temporal_factor: int  # pictures per latent frame
    transformer: TransformerConfig
    decoder: AnyDecoderConfig  # of what paints the pictures
    vocabulary: Vocabulary | None = None  # where the model knows some words only


def describe_model(
    model: str | Path, parts: str | Path | None = None, decoder: str | None = None
) -> ModelDescription:
    """Read the configuration files of a model, so that a request can be refused at once.

    Arguments as for `Engine.load`.

    Raises `ConfigError` for an unknown model or a decoder that does not fit it, `CheckpointError`
    for a folder without its parts.
    """
    located = locate_model(model)
    preset = preset_of(located, str(model))
    folder = locate_parts(located, parts)
    vae = read_vae_config(read_json(folder / "vae" / "config.json"))
    if decoder is not None:
        check_decoder(vae, preset.name)
        locate_decoder(decoder)
    transformer = read_transformer_config(located)
    _, down, across = transformer.patch_size
    factor = vae.spatial_factor
    return ModelDescription(
        preset,
        (down * factor, across * factor),
        vae.temporal_factor,
        transformer,
        vae if decoder is None else TinyDecoderConfig(),
        Vocabulary.read(folder),
    )
