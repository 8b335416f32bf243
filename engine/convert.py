"""Writing a checkpoint in another layout."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from ..models.config import TransformerConfig
from ..models.errors import ConfigError
from ..models.original import to_original
from ..models.pickled import SUFFIXES
from ..models.transformer_file import read_transformer
from .device import DTYPES
from .locate import INDEX, locate_model, locate_parts
from .preset import PRESET_FILE, preset_of

PARTIAL = ".part"
SHARD = "5GB"
COPIED = ("vae", "text_encoder", "tokenizer", "scheduler")
TRANSFORMER_CLASS = "SanaVideoTransformer3DModel"


def convert_model(
    source: str | Path, target: Path, parts: str | Path | None = None, dtype: str | None = None
) -> None:
    """Write a model as a folder in the diffusers layout, or as a file in the original one.

    A folder holds all parts and a `stream.json` with the preset, so that it needs no telling name.
    A file (`.pth`, `.pt`) holds the transformer alone.

    Args:
        source: as `locate_model` takes it.
        target: must not exist; appears only when it is complete.
        parts: where VAE, text encoder and tokenizer come from, where not from the source.
        dtype: of the transformer's weights; as they are where `None`.

    Raises:
        ConfigError: a target that exists, an unknown dtype or source.
        CheckpointError: a source that cannot be read.
    """
    if target.exists():
        raise ConfigError(f"{target} exists; give a name that is free")
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"dtype {dtype} is not known; use {', '.join(DTYPES)}")
    located = locate_model(source)
    config, tensors = read_transformer(located)
    if dtype is not None:
        tensors = {name: tensor.to(DTYPES[dtype]) for name, tensor in tensors.items()}
    partial = target.with_name(target.name + PARTIAL)
    if partial.is_dir():
        shutil.rmtree(partial)
    if target.suffix in SUFFIXES:
        torch.save({"state_dict": to_original(tensors)}, partial)
    else:
        folder = locate_parts(located, parts)
        _write_transformer(partial / "transformer", config, tensors)
        _copy_parts(folder, partial)
        preset = preset_of(located, str(source))
        (partial / PRESET_FILE).write_text(_json(asdict(preset)), encoding="utf-8")
    os.replace(partial, target)


def _write_transformer(part: Path, config: TransformerConfig, tensors: dict[str, Tensor]) -> None:
    from huggingface_hub import save_torch_state_dict

    part.mkdir(parents=True)
    settings = {"_class_name": TRANSFORMER_CLASS, **asdict(config)}
    settings |= {"qk_norm": "rms_norm_across_heads", "norm_elementwise_affine": False}
    (part / "config.json").write_text(_json(settings), encoding="utf-8")
    whole = {name: _own(tensor) for name, tensor in tensors.items()}
    save_torch_state_dict(
        whole,
        part,
        filename_pattern="diffusion_pytorch_model{suffix}.safetensors",
        max_shard_size=SHARD,
    )


def _own(tensor: Tensor) -> Tensor:
    """A tensor with a storage of its own: safetensors writes no part of another one."""
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _copy_parts(source: Path, target: Path) -> None:
    for name in COPIED:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)  # follows the hub cache's links
    for file in (*source.glob("LICENSE*"), *source.glob("README*")):
        shutil.copy(file, target)
    index = json.loads((source / INDEX).read_text(encoding="utf-8"))
    index["transformer"] = ["diffusers", TRANSFORMER_CLASS]
    (target / INDEX).write_text(_json(index), encoding="utf-8")


def _json(values: dict[str, object]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
