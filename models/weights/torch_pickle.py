"""Listing of a PyTorch pickle as plain records, without running or allocating anything.

A pickle is a program. Here each of its calls creates a record of a tensor, so that sizes can be
checked against the file before `torch.load` allocates memory.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import torch

PICKLE_BYTES = 8 << 20  # a training state of the 2B model has less than 1 MiB
_RANK = 8  # dimensions of a tensor
_KEYS = (str, int, float, bool, type(None))  # of dictionaries: hashing them cannot recurse

_STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool, "UntypedStorage": torch.uint8,
}  # fmt: skip
_OPCODES = b"".join(
    getattr(pickle, name)
    for name in (
        *("PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BUILD", "NEWOBJ", "BINPERSID"),
        *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINSTRING", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE"),
        *("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPEND", "APPENDS", "SETITEM", "SETITEMS"),
        *("BINGET", "LONG_BINGET", "BINPUT", "LONG_BINPUT"),
    )
)


@dataclass(frozen=True, slots=True)
class StoredData:
    """Storage of one or more tensors."""

    key: str  # its name in the file
    dtype: torch.dtype
    count: int  # of elements

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Dtype, shape and storage of a tensor in a file."""

    data: StoredData
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return prod(self.shape) * self.dtype.itemsize


@dataclass(slots=True)
class Listing:
    """Structure of a file, and the storages that it refers to, by key."""

    held: Any
    data: dict[str, StoredData]


def list_pickle(raw: io.BufferedIOBase | io.BytesIO) -> Listing:
    """Read one pickle from a stream, up to its end.

    Raises:
        pickle.UnpicklingError: it holds other objects than tensors, numbers, text, lists and
            dictionaries.
        ValueError: a tensor that is larger than its storage.
        EOFError, and others of `pickle`: it is damaged.
    """
    reader = _Reader(raw)
    return Listing(reader.load(), reader.data)


_Unpickler: Any = pickle._Unpickler  # type: ignore[attr-defined] - pure Python: can be restricted


class _Reader(_Unpickler):
    """Python's unpickler with a subset of its operations, creating records in place of objects."""

    dispatch: ClassVar[dict[int, Any]] = {code: _Unpickler.dispatch[code] for code in _OPCODES}

    def __init__(self, raw: Any) -> None:
        super().__init__(raw, encoding="utf-8")
        self.data: dict[str, StoredData] = {}

    def load(self) -> Any:
        try:
            return super().load()
        except KeyError as error:
            code = error.args[0] if error.args else None
            if isinstance(code, int) and code not in self.dispatch:
                raise pickle.UnpicklingError(f"operation {code}") from None
            raise

    def find_class(self, module: str, name: str) -> Any:
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) in _CALLS:
            return _CALLS[module, name]
        if module == "torch" and isinstance(kind := getattr(torch, name, None), torch.dtype):
            return kind
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> StoredData:
        if not (isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage"):
            raise pickle.UnpicklingError("a reference that is no storage")
        _, dtype, key, _, count, *view = pid
        if not isinstance(dtype, torch.dtype) or not isinstance(key, str):
            raise pickle.UnpicklingError("a storage without type or key")
        if not _is_count(count) or any(view):
            raise ValueError(f"storage {key} has no size, or is a part of another")
        found = StoredData(key, dtype, count)
        if self.data.setdefault(key, found) != found:
            raise ValueError(f"storage {key} is listed with two sizes")
        return found

    def load_build(self) -> None:  # attributes of a dictionary: torch's `_metadata`
        self.stack.pop()

    def load_newobj(self) -> None:
        raise pickle.UnpicklingError("an object of a class")

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _put(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        _put(self.stack[-1], items)

    dispatch |= {
        pickle.BUILD[0]: load_build,
        pickle.NEWOBJ[0]: load_newobj,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
    }


def _put(held: Any, items: list[Any]) -> None:
    keys = items[::2]
    if not isinstance(held, dict) or not all(isinstance(key, _KEYS) for key in keys):
        raise pickle.UnpicklingError("a dictionary with other keys than text and numbers")
    held.update(zip(keys, items[1::2], strict=True))


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 48


def _empty(*args: Any) -> dict[Any, Any]:
    if args:
        raise pickle.UnpicklingError("a dictionary made from a list")
    return {}


def _tensor(
    data: Any, offset: Any, shape: Any, stride: Any, *rest: Any, dtype: Any = None
) -> StoredTensor:
    if not isinstance(data, StoredData):
        raise pickle.UnpicklingError("a tensor without data")
    sizes = (offset, *_sizes(shape), *_sizes(stride))
    if len(shape) != len(stride) or not all(map(_is_count, sizes)):
        raise ValueError("a tensor has no shape")
    kind = data.dtype if dtype is None else dtype
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    room = data.nbytes // kind.itemsize
    if prod(shape) > room or (prod(shape) and last >= room):
        raise ValueError(f"a tensor of shape {tuple(shape)} has data of {room} elements")
    return StoredTensor(data, kind, tuple(shape))


def _tensor_v3(
    data: Any, offset: Any, shape: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *rest: Any
) -> StoredTensor:
    if not isinstance(dtype, torch.dtype):
        raise pickle.UnpicklingError("a tensor without type")
    return _tensor(data, offset, shape, stride, dtype=dtype)


def _sizes(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, tuple) or len(value) > _RANK:
        raise ValueError(f"a tensor has no shape, or one of more than {_RANK} dimensions")
    return value


def _parameter(data: Any, *rest: Any) -> StoredTensor:
    if not isinstance(data, StoredTensor):
        raise pickle.UnpicklingError("a parameter without data")
    return data


def _size(sizes: Any) -> tuple[Any, ...]:
    return _sizes(sizes)


def _bytes(text: Any, *encoding: Any) -> str:
    if not isinstance(text, str) or encoding not in ((), ("latin1",)):
        raise pickle.UnpicklingError("_codecs.encode")
    return text


_CALLS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _empty,
    ("_codecs", "encode"): _bytes,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_v3,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch", "Size"): _size,
}
