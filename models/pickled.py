"""Reading `.pth`, `.pt` and `.bin` files, which can hold anything, as tensors and nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from sana_stream._text import safe_text

from .errors import CheckpointError
from .names import plain_names
from .torch_file import list_torch_file
from .torch_listing import StoredTensor
from .weight_format import SAFETENSORS

SUFFIXES = {".pth", ".pt"}
T = TypeVar("T")

# Where training code puts the weights, the averaged ones (EMA) first: they are what is published.
_WRAPPERS = (
    "generator_ema",
    "state_dict_ema",
    "ema",
    "ema_state_dict",
    "ema_model",
    "params_ema",
    "generator",
    "state_dict",
    "model",
    "module",
    "model_state_dict",
    "params",
    "transformer",
)
_NESTING = 8  # wrappers in wrappers


def read_pickled(path: Path) -> dict[str, Tensor]:
    """The weights in a PyTorch file, without running anything in it and without reading it whole.

    Looks inside `generator`, `state_dict` and averaged weights, takes the averaged ones where
    there are both, and drops what wrapper modules put before the names. The format of before
    PyTorch 1.6, which cannot be mapped into memory, is read whole.

    Raises:
        CheckpointError: the file is missing, cut short, holds code or other objects, lists more
            than it has, or has no dictionary of tensors.
    """
    listing, archive = list_torch_file(path)
    _pick(listing.held, StoredTensor, path)  # all that could refuse it, before anything is loaded
    mapped = archive and path.suffix != SAFETENSORS  # torch goes by that name, whatever is inside
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles' versions: it reads them or it does not
            source = path if mapped else file
            held = torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch's readers raise what they like
        reason = safe_text((str(error).strip().splitlines() or ["it ends too early"])[0])
        raise CheckpointError(f"{safe_text(path)} is not a whole PyTorch file: {reason}") from error
    return _pick(held, Tensor, path)


def list_pickled(path: Path) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Dtype and shape of the tensors that `read_pickled` gives; raises as it does."""
    listing, _ = list_torch_file(path)
    found = _pick(listing.held, StoredTensor, path)
    return {name: (tensor.dtype, tensor.shape) for name, tensor in found.items()}


def _pick(held: Any, kind: type[T], path: Path) -> dict[str, T]:
    """The dictionary of weights inside what a file holds, under plain names."""
    for _ in range(_NESTING):
        if _is_weights(held, kind):
            _check_total(held, path)
            return plain_names(held.items(), safe_text(path))
        held = next((held[key] for key in _WRAPPERS if _has(held, key)), None)
        if held is None:
            break
    raise CheckpointError(
        f"{safe_text(path)} holds no dictionary of tensors; looked for {', '.join(_WRAPPERS)}"
    )


def _check_total(held: Mapping[str, Any], path: Path) -> None:
    """Tensors may share their numbers, but a file does not hold far more than its bytes."""
    if sum(tensor.nbytes for tensor in held.values()) > 2 * path.stat().st_size:
        raise CheckpointError(f"{safe_text(path)} lists far more numbers than it holds")


def _is_weights(held: Any, kind: type) -> bool:
    return (
        isinstance(held, Mapping)
        and bool(held)
        and all(isinstance(k, str) and isinstance(v, kind) for k, v in held.items())
    )


def _has(held: Any, key: str) -> bool:
    return isinstance(held, Mapping) and isinstance(held.get(key), Mapping) and bool(held[key])
