"""Tensors and JSON from the files of a model folder, and from those files into a model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from .errors import CheckpointError
from .pickled import read_pickled

STEM = "diffusion_pytorch_model"
WEIGHTS = f"{STEM}.safetensors"
NAMED = 3  # how many keys an error message names


def assign_weights(model: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Give every parameter of a model made on the meta device its tensor.

    Raises:
        CheckpointError: keys are missing, unknown or of another shape; each is named.
    """
    expected = model.state_dict()
    _refuse(source, "lacks", expected.keys() - tensors.keys())
    _refuse(source, "has unknown", tensors.keys() - expected.keys())
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{source}: {name} has shape {tuple(tensor.shape)},"
                f" the configuration asks for {tuple(expected[name].shape)}"
            )
    model.load_state_dict(dict(tensors), assign=True)


def read_tensors(part: Path) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a part of a model folder, from all its files."""
    for file in weight_files(part):
        yield from read_safetensors(file) if file.suffix != ".bin" else read_pickled(file).items()


def weight_files(part: Path) -> list[Path]:
    """The files that hold a part's weights.

    One safetensors file, the shards that an index names, a variant of either (`.fp16.`, `.bf16.`)
    where there is no plain one, or the older `.bin`.
    """
    for index in (part / f"{WEIGHTS}.index.json", *_sorted(part, f"{WEIGHTS}.index.*.json")):
        if index.exists():
            return [part / name for name in sorted(set(_weight_map(index).values()))]
    whole = [part / WEIGHTS, *_sorted(part, f"{STEM}.*.safetensors"), part / f"{STEM}.bin"]
    return [next((file for file in whole if file.exists()), part / WEIGHTS)]


def read_safetensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of one file.

    Raises:
        CheckpointError: the file is missing or cut short.
    """
    if not path.exists():
        raise CheckpointError(f"{path} is missing; the model folder is not complete")
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a dict
                yield name, file.get_tensor(name)
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}); fetch it again"
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        CheckpointError: the file is missing or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing; the model folder is not complete") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} must hold a JSON object")
    return value


def _weight_map(index: Path) -> dict[str, str]:
    found = read_json(index).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise CheckpointError(f"{index} has no weight_map; fetch it again")
    return found


def _sorted(part: Path, pattern: str) -> list[Path]:
    return sorted(part.glob(pattern))


def _refuse(source: Path, what: str, keys: set[str]) -> None:
    if keys:
        named = ", ".join(sorted(keys)[:NAMED])
        more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
        raise CheckpointError(
            f"{source} {what} {named}{more}; it is not a checkpoint of this model"
        )
