"""The transformer's configuration and weights, in whichever published layout they are."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from .config import TransformerConfig
from .errors import CheckpointError
from .original import from_original, infer_config
from .pickled import SUFFIXES, read_pickled
from .weights import read_json, read_safetensors, read_tensors

SAFETENSORS = ".safetensors"


def is_weights_file(path: Path) -> bool:
    """Whether a path names a single file of weights: .pth, .pt or .safetensors."""
    return path.suffix in SUFFIXES | {SAFETENSORS}


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
        config = TransformerConfig.from_dict(read_json(part / "config.json"))
        return config, dict(read_tensors(part))
    tensors = dict(read_pickled(model) if model.suffix in SUFFIXES else read_safetensors(model))
    if "patch_embedding.weight" not in tensors:
        try:
            tensors = from_original(tensors)
        except CheckpointError as error:
            raise CheckpointError(f"{model}: {error}") from error
    beside = model.parent / "config.json"
    if beside.exists():
        return TransformerConfig.from_dict(read_json(beside)), tensors
    return infer_config(tensors), tensors


def read_transformer_config(model: Path) -> TransformerConfig:
    """The configuration alone; raises as `read_transformer` does. No weights are read."""
    if model.is_dir():
        return TransformerConfig.from_dict(read_json(model / "transformer" / "config.json"))
    return read_transformer(model)[0]  # the file is mapped into memory, not read
