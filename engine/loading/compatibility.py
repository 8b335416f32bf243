"""Checks that the parts of a model and its LoRA files fit together, before weights are loaded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from sana_stream.errors import ConfigError
from sana_stream.models.lora.stack import fit_lora, read_lora
from sana_stream.models.registry import VideoTransformerConfig, build_transformer
from sana_stream.models.vae.registry import VideoVAEConfig
from sana_stream.models.weights.text_encoder_files import read_text_config


def check_parts(transformer: VideoTransformerConfig, vae: VideoVAEConfig, folder: Path) -> None:
    """Check that transformer, VAE and text encoder have the same numbers of channels.

    Args:
        folder: the model folder; without `text_encoder/` the text encoder is not checked.

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


def check_loras(config: VideoTransformerConfig, files: Iterable[Path]) -> None:
    """Check that LoRA files fit a transformer's shapes.

    Raises:
        CheckpointError: a file cannot be read, or does not fit.
    """
    files = list(files)
    if not files:
        return
    with torch.device("meta"):
        network = build_transformer(config)
    for file in files:
        fit_lora(file, read_lora(file), dict(network.named_parameters()))
