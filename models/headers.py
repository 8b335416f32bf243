"""What files of weights hold, without reading the weights."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from safetensors import SafetensorError, safe_open

from sana_stream._text import safe_text

from .names import plain_names
from .pickled import list_pickled
from .weight_format import weight_format
from .weights import not_whole

_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
          "F8_E4M3": "float8_e4m3fn", "I64": "int64", "I32": "int32", "I8": "int8",
          "U8": "uint8"}  # fmt: skip

Header = tuple[str, tuple[int, ...]]
"""Dtype and shape of a tensor."""


@dataclass(frozen=True, slots=True)
class WeightSummary:
    """How many weights, in which dtypes, in how many bytes of files."""

    parameters: int
    dtypes: tuple[str, ...]  # the most frequent first
    file_bytes: int

    @classmethod
    def of(cls, files: Iterable[Path]) -> Self:
        """Summarise files of safetensors or of pickled tensors.

        Raises:
            CheckpointError: a file is missing or cut short.
        """
        counts: Counter[str] = Counter()
        size = 0
        for file in files:
            for dtype, shape in read_headers(file).values():
                counts[dtype] += math.prod(shape)
            size += file.stat().st_size
        return cls(counts.total(), tuple(name for name, _ in counts.most_common()), size)


def read_headers(file: Path) -> dict[str, Header]:
    """Dtype and shape of every tensor of a file, by plain names.

    Raises:
        CheckpointError: the file is missing, cut short, or no file of weights.
    """
    if weight_format(file) == "torch":
        listed = list_pickled(file).items()
        return {n: (str(dtype).removeprefix("torch."), shape) for n, (dtype, shape) in listed}
    found: dict[str, Header] = {}
    try:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a dict
                entry = opened.get_slice(name)
                dtype = str(entry.get_dtype())
                found[name] = _NAMES.get(dtype, dtype), tuple(entry.get_shape())
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise not_whole(file, error) from error
    return plain_names(found, safe_text(file))
