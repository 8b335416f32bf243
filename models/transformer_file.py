"""The transformer's configuration and weights, in whichever published layout they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from sana_stream._text import safe_text

from .config import TransformerConfig
from .errors import CheckpointError
from .headers import empty_tensors, part_headers, read_headers
from .original import count_layers, from_original, infer_config
from .pickled import SUFFIXES
from .transformer import SanaVideoTransformer
from .weight_format import SAFETENSORS
from .weights import check_shapes, read_json, read_tensors, read_weights, weight_files

OTHER_SUFFIXES = {".bin", ".ckpt"}  # that weights have too, beside other things


def is_weights_file(path: Path) -> bool:
    """Whether a path names a single file of weights: .pth, .pt, .safetensors, .bin or .ckpt."""
    return path.suffix in SUFFIXES | {SAFETENSORS} | OTHER_SUFFIXES


def read_transformer(model: Path) -> tuple[TransformerConfig, dict[str, Tensor]]:
    """Configuration and tensors, under diffusers' names.

    Args:
        model: a model folder in the diffusers layout, or one file of weights, in the original
            layout or under diffusers' names. A file's configuration follows from its shapes,
            unless diffusers' `config.json` lies beside it.

    Raises:
        CheckpointError: a file is missing, cut short, or not of this model.
        ConfigError: the configuration names something this model does not implement.
    """
    if model.is_dir():
        part = model / "transformer"
        config = read_transformer_config(model)
        tensors = _published(dict(read_tensors(part)), part)
        _check_layers(tensors, config, part)
        return config, tensors
    tensors = _published(read_weights(model), model)
    beside = model.parent / "config.json"
    if not beside.exists():
        return _infer(tensors, model), tensors
    config = TransformerConfig.from_dict(read_json(beside), beside)
    _check_layers(tensors, config, model)
    return config, tensors


def read_transformer_config(model: Path) -> TransformerConfig:
    """The configuration alone; raises as `read_transformer` does. No weights are read."""
    path = (model / "transformer" if model.is_dir() else model.parent) / "config.json"
    if model.is_dir() or path.exists():
        return TransformerConfig.from_dict(read_json(path), path)
    shapes = empty_tensors(read_headers(model), model)
    return _infer(_published(shapes, model), model)


def check_transformer_files(model: Path, config: TransformerConfig) -> None:
    """Hold the weights' headers against the configuration; no weights are read.

    Raises:
        CheckpointError: a file is missing, cut short, or has not the layers of the configuration.
    """
    files = weight_files(model / "transformer") if model.is_dir() else [model]
    tensors = _published(empty_tensors(part_headers(files), model), model)
    _check_layers(tensors, config, model)
    with torch.device("meta"):
        network = SanaVideoTransformer(config)
    check_shapes(network, tensors, model)


def _published(tensors: dict[str, Tensor], source: Path) -> dict[str, Tensor]:
    """Tensors under diffusers' names."""
    original = "x_embedder.proj.weight" in tensors or not source.is_dir()
    if "patch_embedding.weight" in tensors or not original:
        return tensors
    try:
        return from_original(tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{safe_text(source)}: {error}") from error


def _infer(tensors: Mapping[str, Tensor], source: Path) -> TransformerConfig:
    try:
        return infer_config(tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{safe_text(source)}: {error}") from error


def _check_layers(names: Iterable[str], config: TransformerConfig, source: Path) -> None:
    """Before a network is made of as many layers as a configuration says."""
    layers = count_layers(names)
    if layers and layers != config.num_layers:
        raise CheckpointError(
            f"{safe_text(source)} has {layers} layers, the configuration asks for num_layers"
            f" {config.num_layers}; it is not a checkpoint of this model"
        )
