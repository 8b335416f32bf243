"""Checks that the parts of a model and its LoRA files fit together, before weights are loaded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from sana_stream._text import safe_text
from sana_stream.errors import ConfigError
from sana_stream.models.hybrid.config import HybridConfig
from sana_stream.models.lora.stack import fit_lora, read_lora
from sana_stream.models.registry import VideoTransformerConfig, build_transformer
from sana_stream.models.vae.registry import VideoVAEConfig, vae_class
from sana_stream.models.weights.files import read_json
from sana_stream.models.weights.text_encoder_files import read_text_config

from .locate import HYBRID_VAE, PUBLISHED_PARTS

LTX_2_ENCODER = [256, 512, 1024, 2048]  # block_out_channels; LTX-2.3 has 1024 at the end


def check_parts(transformer: VideoTransformerConfig, vae: VideoVAEConfig, folder: Path) -> None:
    """Check that transformer, VAE and text encoder have the same numbers of channels.

    Args:
        folder: the model folder; without `text_encoder/` the text encoder is not checked.

    Raises:
        ConfigError: the parts are not of one model.
        CheckpointError: the text encoder's configuration is damaged.
    """
    check_channels(transformer, vae, folder)
    if isinstance(transformer, HybridConfig):
        _check_latents(folder)
    if not (folder / "text_encoder").is_dir():
        return
    width = read_text_config(folder / "text_encoder")["hidden_size"]
    if width != transformer.caption_channels:
        raise ConfigError(
            f"the text encoder makes {width} channels, the transformer takes caption_channels"
            f" {transformer.caption_channels}; the parts are not of one model"
        )


def check_channels(
    transformer: VideoTransformerConfig, vae: VideoVAEConfig, folder: Path | None = None
) -> None:
    """Check that a transformer's latents are those of a VAE.

    Args:
        folder: the model folder with the VAE, for the message.

    Raises:
        ConfigError: another number of channels; names the VAE that fits.
    """
    if vae.z_dim == transformer.in_channels:
        return
    where = "" if folder is None else f" in {safe_text(folder)}"
    fitting = PUBLISHED_PARTS.get(transformer.in_channels)
    advice = f'give parts="{fitting}"'
    if fitting is None or isinstance(transformer, HybridConfig):
        advice = "give parts=, a folder with its VAE"
    raise ConfigError(
        f"the VAE{where} ({vae_class(vae)}) makes {vae.z_dim} channels, the transformer takes"
        f" {transformer.in_channels}; the parts are not of one model: {advice}"
    )


def _check_latents(folder: Path) -> None:
    """Refuse LTX-2's VAE for SANA-Video 2.0: as many channels, and other latents."""
    path = folder / "vae" / "config.json"
    if read_json(path).get("block_out_channels") == LTX_2_ENCODER:
        raise ConfigError(
            f"{safe_text(path)} is LTX-2's VAE; SANA-Video 2.0 has the latents of LTX-2.3: give"
            f" parts=, a folder with the vae/ of {HYBRID_VAE}"
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
