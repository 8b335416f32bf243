"""Reading `.pth` and `.pt` files, which can hold anything, as tensors and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from .errors import CheckpointError

SUFFIXES = {".pth", ".pt"}

# Where training code puts the weights, the averaged ones (EMA) first: they are what is published.
_WRAPPERS = (
    "generator_ema",
    "state_dict_ema",
    "ema",
    "ema_state_dict",
    "generator",
    "state_dict",
    "model",
    "module",
)
# What wrapper modules put in front of every name.
_PREFIXES = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "module.",
             "model.", "generator.", "ema_model.")  # fmt: skip


def read_pickled(path: Path) -> dict[str, Tensor]:
    """The weights in a PyTorch file, without running anything in it and without reading it whole.

    Looks inside `generator`, `state_dict` and averaged weights, takes the averaged ones where
    there are both, and drops what wrapper modules put before the names.

    Raises:
        CheckpointError: the file is missing, cut short, holds code or other objects, or has no
            dictionary of tensors.
    """
    held = _load(path)
    while not _is_weights(held):
        inside = next((held[key] for key in _WRAPPERS if _has(held, key)), None)
        if inside is None:
            raise CheckpointError(
                f"{path} holds no dictionary of tensors; looked for {', '.join(_WRAPPERS)}"
            )
        held = inside
    return {_plain(name): tensor for name, tensor in held.items()}


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing") from error
    except UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and was not opened: code in it could run;"
            " ask its author for safetensors"
        ) from error
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "it ends too early"
        raise CheckpointError(f"{path} is not a whole PyTorch file: {reason}") from error


def _is_weights(held: Any) -> bool:
    return (
        isinstance(held, Mapping)
        and bool(held)
        and all(isinstance(value, Tensor) for value in held.values())
    )


def _has(held: Any, key: str) -> bool:
    return isinstance(held, Mapping) and isinstance(held.get(key), Mapping) and bool(held[key])


def _plain(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.replace(prefix, "") if prefix.startswith("_") else name
    while any(name.startswith(prefix) for prefix in _PREFIXES):
        name = name[len(next(p for p in _PREFIXES if name.startswith(p))) :]
    return name
