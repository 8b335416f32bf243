"""Conversion of a checkpoint to another layout."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from sana_stream._files import atomic_file, partial_path, require_regular_file
from sana_stream._text import safe_text
from sana_stream.engine.device import DTYPES
from sana_stream.errors import CheckpointError, ConfigError
from sana_stream.models.config import TransformerConfig
from sana_stream.models.hybrid.config import CLASS_NAME
from sana_stream.models.registry import VideoTransformerConfig
from sana_stream.models.weights.file_format import SAFETENSORS
from sana_stream.models.weights.files import read_json
from sana_stream.models.weights.load import OTHER_SUFFIXES, read_transformer
from sana_stream.models.weights.original_layout import to_original
from sana_stream.models.weights.torch_file import SUFFIXES

from .hybrid_presets import choose_preset
from .locate import INDEX, resolve_components, resolve_model
from .presets import PRESET_FILE
from .vocabulary import TOPICS_FILE

MARK = ".sana-stream-partial"  # in a folder that this program is writing
SHARD = "5GB"
COPIED = ("vae", "text_encoder", "tokenizer", "scheduler")
COPIED_FILES = {".json", ".safetensors", ".bin", ".model", ".txt", ".jinja"}
TRANSFORMER_CLASS = "SanaVideoTransformer3DModel"


def convert_model(
    source: str | Path, target: Path, parts: str | Path | None = None, dtype: str | None = None
) -> None:
    """Write a model as a folder in the diffusers layout, or as a file in the original layout.

    A folder has all parts and a `stream.json` with the preset. A file (`.pth`, `.pt`) has only the
    transformer.

    Args:
        source: as `resolve_model` takes it.
        target: must not exist; created only when complete.
        parts: folder or hub id with VAE, text encoder and tokenizer, where not the source.
        dtype: "bfloat16", "float16" or "float32" for the transformer's weights; `None` keeps it.

    Raises:
        ConfigError: a target that exists or lies in the source, an unknown dtype or source.
        CheckpointError: a source that cannot be read.
        OSError: the target cannot be written; nothing remains of it.
    """
    _check_target(target)
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"dtype {dtype} is not known; use {', '.join(DTYPES)}")
    located = resolve_model(source)
    folder = None if target.suffix in SUFFIXES else resolve_components(located, parts)
    for place in (located, folder):
        _check_outside(target, place)
    index = {} if folder is None else read_json(folder / INDEX)
    config, tensors = read_transformer(located)
    preset = choose_preset(located, str(source), config)
    if dtype is not None:
        tensors = {name: tensor.to(DTYPES[dtype]) for name, tensor in tensors.items()}
    if folder is None:
        _write_file(target, to_original(tensors))
        return
    partial = partial_path(target)
    with _making_folder(partial):
        _write_transformer(partial / "transformer", config, tensors)
        _copy_parts(folder, partial)
        index["transformer"] = list(_class_entry(config))
        (partial / INDEX).write_text(_json(index), encoding="utf-8")
        (partial / PRESET_FILE).write_text(_json(asdict(preset)), encoding="utf-8")
        _check_free(target)  # another program may have been faster
        os.rename(partial, target)
        (target / MARK).unlink()


def _check_free(target: Path) -> None:
    if os.path.lexists(target):
        raise ConfigError(f"{safe_text(target)} exists; give a name that is free")


def _check_target(target: Path) -> None:
    _check_free(target)
    if target.suffix in {SAFETENSORS} | OTHER_SUFFIXES:
        raise ConfigError(
            f"{safe_text(target)}: give a name that ends in .pth for a file, or in no suffix of"
            " weights for a folder"
        )
    partial = partial_path(target)
    if os.path.lexists(partial) and not _is_left_behind(partial, target.suffix):
        raise ConfigError(
            f"{safe_text(partial)} exists and is not an unfinished conversion of this program;"
            " remove it, or give another name"
        )


def _check_outside(target: Path, place: Path | None) -> None:
    if place is not None and place.is_dir():
        real, inside = place.resolve(), target.resolve()
        if inside.is_relative_to(real):
            raise ConfigError(f"{safe_text(target)} lies in {safe_text(place)}, which is read")


def _is_left_behind(partial: Path, kind: str) -> bool:
    """Whether a partial file or folder is that of a killed conversion, or a folder without files.

    Args:
        kind: the target's suffix; empty for a folder.
    """
    if kind in SUFFIXES:
        return partial.is_file() or partial.is_symlink()  # the name is this program's own
    if partial.is_symlink() or not partial.is_dir():
        return False
    return (partial / MARK).is_file() or not any(files for _, _, files in os.walk(partial))


@contextmanager
def _making_folder(partial: Path) -> Iterator[None]:
    """Create a marked folder for the body to fill; it is removed after an error."""
    if partial.is_dir():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    (partial / MARK).touch()
    try:
        yield
    except BaseException:
        if (partial / MARK).is_file():
            shutil.rmtree(partial, ignore_errors=True)
        raise


def _write_file(target: Path, tensors: dict[str, Tensor]) -> None:
    whole = {name: _own(tensor) for name, tensor in tensors.items()}
    with atomic_file(target) as file:
        torch.save({"state_dict": whole}, file)
        _check_free(target)  # another program may have been faster


def _write_transformer(
    part: Path, config: VideoTransformerConfig, tensors: dict[str, Tensor]
) -> None:
    from huggingface_hub import save_torch_state_dict

    part.mkdir()
    settings = {"_class_name": _class_entry(config)[1], **asdict(config)}
    if isinstance(config, TransformerConfig):
        settings |= {"qk_norm": "rms_norm_across_heads", "norm_elementwise_affine": False}
    (part / "config.json").write_text(_json(settings), encoding="utf-8")
    whole = {name: _own(tensor) for name, tensor in tensors.items()}
    save_torch_state_dict(
        whole,
        part,
        filename_pattern="diffusion_pytorch_model{suffix}.safetensors",
        max_shard_size=SHARD,
    )
    for file in part.glob("*.safetensors"):  # the library makes it readable by its owner only
        file.chmod((part / "config.json").stat().st_mode & 0o777)


def _class_entry(config: VideoTransformerConfig) -> tuple[str, str]:
    """The package and the class that an index lists for the transformer."""
    if isinstance(config, TransformerConfig):
        return "diffusers", TRANSFORMER_CLASS
    return "sana_stream", CLASS_NAME  # diffusers has no class for it


def _own(tensor: Tensor) -> Tensor:
    """A tensor with its own storage, as safetensors requires."""
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _copy_parts(source: Path, target: Path) -> None:
    for name in COPIED:
        if (source / name).is_dir():
            (target / name).mkdir()
            for file in sorted((source / name).iterdir()):
                if file.suffix in COPIED_FILES:
                    _copy(file, target / name)
    for file in (*source.glob("LICENSE*"), *source.glob("README*"), *source.glob(TOPICS_FILE)):
        _copy(file, target)


def _copy(file: Path, folder: Path) -> None:
    """Copy a file's content without permissions; follows links, which the hub's cache has."""
    try:
        require_regular_file(file)
    except ValueError as error:
        raise CheckpointError(f"{safe_text(file)} cannot be copied: {error}") from error
    shutil.copyfile(file, folder / file.name)


def _json(values: dict[str, object]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
