"""What files of weights hold, without reading the weights."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from safetensors import SafetensorError, safe_open

from .errors import CheckpointError
from .pickled import SUFFIXES, read_pickled

_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
          "F8_E4M3": "float8_e4m3fn", "I64": "int64", "I32": "int32", "I8": "int8",
          "U8": "uint8"}  # fmt: skip


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
            for dtype, shape in _headers(file):
                counts[dtype] += math.prod(shape)
            size += file.stat().st_size
        return cls(counts.total(), tuple(name for name, _ in counts.most_common()), size)


def _headers(file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    if file.suffix in SUFFIXES | {".bin"}:
        for tensor in read_pickled(file).values():  # mapped into memory, not read
            yield str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)
        return
    if not file.exists():
        raise CheckpointError(f"{file} is missing; the model folder is not complete")
    try:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a dict
                entry = opened.get_slice(name)
                dtype = str(entry.get_dtype())
                yield _NAMES.get(dtype, dtype), tuple(entry.get_shape())
    except SafetensorError as error:
        raise CheckpointError(
            f"{file} is not a whole safetensors file ({error}); fetch it again"
        ) from error
