"""What a model folder says about itself before its weights are loaded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from sana_stream._files import expand_user
from sana_stream.errors import ConfigError
from sana_stream.models.config import TransformerConfig
from sana_stream.models.lora.settings import check_scale
from sana_stream.models.lora.stack import fit_lora, read_lora
from sana_stream.models.text_encoder import check_text_files
from sana_stream.models.transformer import SanaVideoTransformer
from sana_stream.models.vae.registry import VideoDecoderConfig, VideoVAEConfig
from sana_stream.models.vae.taehv import TAEHVConfig
from sana_stream.models.weights.load import read_transformer_config, read_vae_file
from sana_stream.models.weights.text_encoder_files import read_text_config

from .decoder import check_decoder, locate_decoder
from .locate import resolve_components, resolve_model
from .presets import Preset, preset_for
from .vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """A model's defaults and the sizes that it can take."""

    preset: Preset
    size_multiple: tuple[int, int]  # pixels down and across that a size must be a multiple of
    temporal_factor: int  # pictures per latent frame
    transformer: TransformerConfig
    decoder: VideoDecoderConfig  # of what paints the pictures
    vocabulary: Vocabulary | None = None  # where the model knows some words only


def describe_model(
    model: str | Path,
    parts: str | Path | None = None,
    decoder: str | None = None,
    loras: Iterable[tuple[str | Path, float]] = (),
) -> ModelDescription:
    """Read the configuration files of a model, so that a request can be refused at once.

    Arguments as for `Engine.load`.

    Raises `ConfigError` for an unknown model, a value that cannot be used or a decoder that does
    not fit it, `CheckpointError` for a folder without its parts or with damaged ones.
    """
    located = resolve_model(model)
    preset = preset_for(located, str(model))
    folder = resolve_components(located, parts)
    vae = read_vae_file(folder)
    if decoder is not None:
        check_decoder(vae, preset.name)
        locate_decoder(decoder)
    transformer = read_transformer_config(located)
    check_parts(transformer, vae, folder)
    if all((folder / part).is_dir() for part in ("tokenizer", "text_encoder")):
        check_text_files(folder)
    check_loras(located, loras)
    _, down, across = transformer.patch_size
    factor = vae.spatial_factor
    return ModelDescription(
        preset,
        (down * factor, across * factor),
        vae.temporal_factor,
        transformer,
        vae if decoder is None else TAEHVConfig(),
        Vocabulary.read(folder),
    )


def check_parts(transformer: TransformerConfig, vae: VideoVAEConfig, folder: Path) -> None:
    """Hold the configurations of a model's parts against each other, before any is loaded.

    Args:
        folder: the model folder with `text_encoder/`; where it has none, that is told when it is
            loaded.

    Raises:
        ConfigError: the parts are not of one model.
        CheckpointError: the text encoder's configuration is damaged.
    """
    if vae.z_dim != transformer.in_channels:
        raise ConfigError(
            f"the VAE makes {vae.z_dim} channels, the transformer takes"
            f" {transformer.in_channels}; the parts are not of one model"
        )
    if not (folder / "text_encoder").is_dir():
        return
    width = read_text_config(folder / "text_encoder")["hidden_size"]
    if width != transformer.caption_channels:
        raise ConfigError(
            f"the text encoder makes {width} channels, the transformer takes caption_channels"
            f" {transformer.caption_channels}; the parts are not of one model"
        )


def check_loras(model: Path, loras: Iterable[tuple[str | Path, float]]) -> None:
    """Hold LoRA files against a model's shapes, before its weights are loaded.

    Args:
        model: what `resolve_model` returned.
        loras: files with their scales, as for `Engine.load`.

    Raises:
        ConfigError: a scale that is no finite number.
        CheckpointError: a file that cannot be read, or does not fit the model.
    """
    chosen = [(expand_user(file), check_scale(scale, file)) for file, scale in loras]
    if not chosen:
        return
    with torch.device("meta"):
        network = SanaVideoTransformer(read_transformer_config(model))
    for file, _ in chosen:
        fit_lora(file, read_lora(file), dict(network.named_parameters()))
