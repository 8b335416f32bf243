"""Safe reading of `.pth`, `.pt` and `.bin` files: tensors only, no other objects."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import torch
from torch import Tensor

from sana_stream._text import safe_text
from sana_stream.errors import CheckpointError

from .file_format import SAFETENSORS, weight_format
from .tensor_names import plain_names
from .torch_pickle import PICKLE_BYTES, Listing, StoredTensor, list_pickle

MEMBERS = 100_000  # entries of an archive
_ENTRY = 46  # minimal bytes of an entry in an archive's directory
_DIRECTORY_END = 22  # bytes of the directory's last record, without its comment
_COMMENT = 1 << 16


def list_torch_file(path: Path) -> tuple[Listing, bool]:
    """List the structure of a PyTorch file; True for a zip archive, False for the older format.

    Raises:
        CheckpointError: it is damaged, holds more than tensors, or lists more data than it has.
    """
    if weight_format(path) != "torch":
        raise CheckpointError(f"{safe_text(path)} is a safetensors file, not a PyTorch file")
    try:
        with path.open("rb") as file:
            archive = file.read(2) == b"PK"
            file.seek(0)
            listing = _list_archive(file) if archive else _list_legacy(file)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{safe_text(path)} holds more than tensors ({safe_text(error, 80)}) and was not"
            " opened: code in it could run; ask its author for safetensors"
        ) from None
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise CheckpointError(
            f"{safe_text(path)} is not a complete PyTorch file: {safe_text(error)}"
        ) from None
    except Exception as error:  # damaged pickles raise many types
        reason = "it ends too early" if isinstance(error, EOFError) else "its pickle is damaged"
        raise CheckpointError(
            f"{safe_text(path)} is not a complete PyTorch file: {reason}"
        ) from None
    return listing, archive


def _list_archive(file: BinaryIO) -> Listing:
    size = file.seek(0, 2)
    _check_directory(file, size)
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        _check_members(list(members.values()), len(archive.infolist()), size)
        pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(_what_archive(members))
        if any(name.split("/")[1:2] in (["code"], ["constants.pkl"]) for name in members):
            raise ValueError("it is a TorchScript program; give its state_dict")
        if members[pickles[0]].file_size > PICKLE_BYTES:
            raise ValueError(f"its list of tensors has more than {PICKLE_BYTES} bytes")
        listing = list_pickle(io.BytesIO(archive.read(pickles[0])))
    folder = pickles[0].removesuffix("data.pkl")
    for key, data in listing.data.items():
        member = members.get(f"{folder}data/{key}")
        if member is None or member.file_size < data.nbytes:
            raise ValueError(f"storage {key} is missing or too short")
    return listing


def _check_directory(file: BinaryIO, size: int) -> None:
    """Refuse an oversized directory before it is read."""
    start = max(0, size - _COMMENT - _DIRECTORY_END)
    file.seek(start)
    tail = file.read()
    found = tail.rfind(b"PK\x05\x06")
    if found < 0:
        raise ValueError("it ends too early")
    length = int.from_bytes(tail[found + 12 : found + 16], "little")
    if length == 0xFFFFFFFF:
        long = tail.rfind(b"PK\x06\x06", 0, found)
        if long < 0:
            raise ValueError("its directory cannot be found")
        length = int.from_bytes(tail[long + 40 : long + 48], "little")
    if length > MEMBERS * 4 * _ENTRY:
        raise ValueError(f"its directory has {length} bytes")


def _check_members(members: list[zipfile.ZipInfo], listed: int, size: int) -> None:
    """Check that members are stored uncompressed, within the file and without overlap."""
    if listed > MEMBERS or listed != len(members):
        raise ValueError("its directory lists too many members, or one name twice")
    end = 0
    for member in sorted(members, key=lambda info: info.header_offset):
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise ValueError(f"{safe_text(member.filename, 80)} in it is compressed")
        if member.header_offset < end:
            raise ValueError(f"{safe_text(member.filename, 80)} in it lies within another member")
        end = member.header_offset + 30 + member.file_size
    if end > size:
        raise ValueError("its members are larger than the file")


def _what_archive(members: dict[str, zipfile.ZipInfo]) -> str:
    if members and all(name.endswith(".npy") for name in members):
        return "it is a NumPy archive (.npz)"
    return "it is a zip archive without PyTorch's data.pkl"


def _list_legacy(file: BinaryIO) -> Listing:
    """List the older format: magic number, version, machine, structure, storage keys, data."""
    for _ in range(3):
        list_pickle(_Bounded(file))
    listing = list_pickle(_Bounded(file))
    keys = list_pickle(_Bounded(file)).held
    if not isinstance(keys, list) or set(map(str, keys)) != listing.data.keys():
        raise ValueError("its storages are not those that its tensors name")
    start, size = file.tell(), file.seek(0, 2)
    needed = sum(8 + data.nbytes for data in listing.data.values())
    if start + needed > size:
        raise ValueError(f"it lacks {start + needed - size} bytes of data")
    return listing


class _Bounded(io.BufferedIOBase):
    """A file object for a pickle's reader, limited to `PICKLE_BYTES` bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = PICKLE_BYTES

    def read(self, size: int | None = -1) -> bytes:  # type: ignore[override]
        return self._take(self._file.read(self._allow(size)))

    def readline(self, size: int | None = -1) -> bytes:  # type: ignore[override]
        return self._take(self._file.readline(self._left))

    def _allow(self, size: int | None) -> int:
        if size is None or not 0 <= size <= self._left:
            raise ValueError(f"its list of tensors has more than {PICKLE_BYTES} bytes")
        return size

    def _take(self, data: bytes) -> bytes:
        self._left -= len(data)
        return data


SUFFIXES = {".pth", ".pt"}
T = TypeVar("T")

# Keys under which training code stores the weights. Averaged (EMA) ones are last: the authors load
# `generator` or `state_dict`, also from files that have both.
_WRAPPERS = (
    "generator",
    "state_dict",
    "model",
    "module",
    "model_state_dict",
    "params",
    "transformer",
    "generator_ema",
    "state_dict_ema",
    "ema",
    "ema_state_dict",
    "ema_model",
    "params_ema",
)
_NESTING = 8  # maximal depth of nested wrappers


def read_torch_file(path: Path) -> dict[str, Tensor]:
    """Read the weights in a PyTorch file, mapped into memory, without running code in it.

    Nested keys such as `generator` and `state_dict` are searched; averaged (EMA) weights are read
    from files that have no others. Prefixes of wrapper modules are removed from names. The format
    before PyTorch 1.6 cannot be mapped and is read completely.

    Raises:
        CheckpointError: the file is missing, truncated, holds code or other objects, lists more
            than it has, or has no dictionary of tensors.
    """
    listing, archive = list_torch_file(path)
    _pick(listing.held, StoredTensor, path)  # every check, before anything is loaded
    mapped = archive and path.suffix != SAFETENSORS  # torch trusts that suffix
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle versions
            source = path if mapped else file
            held = torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch's readers raise many types
        reason = safe_text((str(error).strip().splitlines() or ["it ends too early"])[0])
        raise CheckpointError(
            f"{safe_text(path)} is not a complete PyTorch file: {reason}"
        ) from error
    return _pick(held, Tensor, path)


def list_torch_tensors(path: Path) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """List dtype and shape of the tensors that `read_torch_file` returns; raises as it does."""
    listing, _ = list_torch_file(path)
    found = _pick(listing.held, StoredTensor, path)
    return {name: (tensor.dtype, tensor.shape) for name, tensor in found.items()}


def _pick(held: Any, kind: type[T], path: Path) -> dict[str, T]:
    """Find the dictionary of weights in a file's content; returned by plain names."""
    found = _find(held, kind, _NESTING, set())
    if found is None:
        raise CheckpointError(
            f"{safe_text(path)} holds no dictionary of tensors; looked for {', '.join(_WRAPPERS)}"
        )
    _check_total(found, path)
    return plain_names(found.items(), safe_text(path))


def _find(held: Any, kind: type[T], depth: int, seen: set[int]) -> Mapping[str, T] | None:
    """The first dictionary of weights, in the order of the keys.

    Args:
        held: content of a file, whose dictionaries may contain one another.
        depth: how many levels are searched.
        seen: ids of the dictionaries that have none.
    """
    if depth == 0 or not isinstance(held, Mapping) or id(held) in seen:
        return None
    if _is_weights(held, kind):
        return held
    seen.add(id(held))
    inner = (_find(held[key], kind, depth - 1, seen) for key in _WRAPPERS if key in held)
    return next((found for found in inner if found is not None), None)


def _check_total(held: Mapping[str, Any], path: Path) -> None:
    """Limit the total size: tensors may share storage, but not to a multiple of the file."""
    if sum(tensor.nbytes for tensor in held.values()) > 2 * path.stat().st_size:
        raise CheckpointError(f"{safe_text(path)} lists far more numbers than it holds")


def _is_weights(held: Any, kind: type) -> bool:
    return (
        isinstance(held, Mapping)
        and bool(held)
        and all(isinstance(k, str) and isinstance(v, kind) for k, v in held.items())
    )
