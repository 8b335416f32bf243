"""What a model folder says about itself before its weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..models.checkpoint import read_vae_file
from ..models.config import TransformerConfig
from ..models.errors import ConfigError
from ..models.text import check_text_files
from ..models.transformer_file import read_transformer_config
from ..models.vae_any import AnyVaeConfig
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
    vocabulary: Vocabulary | None = None  # where the model knows some words only


def describe_model(
    model: str | Path, parts: str | Path | None = None, decoder: str | None = None
) -> ModelDescription:
    """Read the configuration files of a model, so that a request can be refused at once.

    Arguments as for `Engine.load`.

    Raises `ConfigError` for an unknown model, a value that cannot be used or a decoder that does
    not fit it, `CheckpointError` for a folder without its parts or with damaged ones.
    """
    located = locate_model(model)
    preset = preset_of(located, str(model))
    folder = locate_parts(located, parts)
    vae = read_vae_file(folder)
    if decoder is not None:
        check_decoder(vae, preset.name)
        locate_decoder(decoder)
    transformer = read_transformer_config(located)
    check_parts(transformer, vae, folder)
    _, down, across = transformer.patch_size
    factor = vae.spatial_factor
    return ModelDescription(
        preset,
        (down * factor, across * factor),
        vae.temporal_factor,
        Vocabulary.read(folder),
    )


def check_parts(transformer: TransformerConfig, vae: AnyVaeConfig, folder: Path) -> None:
    """Hold the configurations of a model's parts against each other, before any is loaded.

    Args:
        folder: the model folder with `text_encoder/` and `tokenizer/`; where it has none, that is
            told when it is loaded.

    Raises:
        ConfigError: the parts are not of one model.
        CheckpointError: the text encoder's or the tokenizer's files are damaged.
    """
    if vae.z_dim != transformer.in_channels:
        raise ConfigError(
            f"the VAE makes {vae.z_dim} channels, the transformer takes"
            f" {transformer.in_channels}; the parts are not of one model"
        )
    if not (folder / "tokenizer").is_dir() or not (folder / "text_encoder").is_dir():
        return
    width = check_text_files(folder)["hidden_size"]
    if width != transformer.caption_channels:
        raise ConfigError(
            f"the text encoder makes {width} channels, the transformer takes caption_channels"
            f" {transformer.caption_channels}; the parts are not of one model"
        )
