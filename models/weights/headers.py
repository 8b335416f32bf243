"""Dtypes and shapes from weights files, without reading the weights."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from sana_stream._text import safe_text
from sana_stream.errors import CheckpointError

from .file_format import weight_format
from .files import check_shapes, incomplete_file, weight_files
from .tensor_names import plain_names
from .torch_file import list_torch_tensors

_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
          "F8_E4M3": "float8_e4m3fn", "I64": "int64", "I32": "int32", "I8": "int8",
          "U8": "uint8"}  # fmt: skip

Header = tuple[str, tuple[int, ...]]
"""Dtype and shape of a tensor."""


@dataclass(frozen=True, slots=True)
class WeightSummary:
    """Parameter count, dtypes and file size of a model's weights."""

    parameters: int
    dtypes: tuple[str, ...]  # the most frequent first
    file_bytes: int

    @classmethod
    def of(cls, files: Iterable[Path]) -> Self:
        """Summarize safetensors or PyTorch files.

        Raises:
            CheckpointError: a file is missing or truncated.
        """
        counts: Counter[str] = Counter()
        size = 0
        for file in files:
            for dtype, shape in read_headers(file).values():
                counts[dtype] += math.prod(shape)
            size += file.stat().st_size
        return cls(counts.total(), tuple(name for name, _ in counts.most_common()), size)


def read_headers(file: Path) -> dict[str, Header]:
    """Read dtype and shape of every tensor of a file, by plain names.

    Raises:
        CheckpointError: the file is missing, truncated, or not a weights file.
    """
    if weight_format(file) == "torch":
        listed = list_torch_tensors(file).items()
        return {n: (str(dtype).removeprefix("torch."), shape) for n, (dtype, shape) in listed}
    found: dict[str, Header] = {}
    try:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a dict
                entry = opened.get_slice(name)
                dtype = str(entry.get_dtype())
                found[name] = _NAMES.get(dtype, dtype), tuple(entry.get_shape())
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise incomplete_file(file, error) from error
    return plain_names(found.items(), safe_text(file))


def part_headers(files: Iterable[Path]) -> dict[str, Header]:
    """Read the headers of all files of a component; raises as `read_headers`."""
    found: dict[str, Header] = {}
    for file in files:
        found |= read_headers(file)
    return found


def empty_tensors(headers: Mapping[str, Header], source: Path) -> dict[str, Tensor]:
    """Create tensors of these shapes and dtypes on the meta device."""
    try:
        return {
            name: torch.empty(shape, device="meta", dtype=getattr(torch, dtype, torch.uint8))
            for name, (dtype, shape) in headers.items()
        }
    except (RuntimeError, OverflowError, TypeError, ValueError) as error:
        raise CheckpointError(f"{safe_text(source)} has a tensor of an impossible shape") from error


def check_headers(model: nn.Module, part: Path) -> None:
    """Check the headers of a model folder's component against a network on the meta device.

    Raises:
        CheckpointError: as `assign_weights`.
    """
    check_shapes(model, empty_tensors(part_headers(weight_files(part)), part), part)
