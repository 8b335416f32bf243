"""Reading of files within limits, and atomic replacement of files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

JSON_BYTES = 16 << 20
JSON_DEPTH = 32
SEALED = {"protocol_whitelist": "none"}  # for libav: a file opens no other files or addresses
PARTIAL = ".sana-stream.part"
_MAX_NAME_BYTES = 200
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE | re.DOTALL)
# a string without a closing quote matches to the end of the text, which keeps matching linear
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{\]}]', re.DOTALL)


def is_device_name(name: str) -> bool:
    """Whether Windows takes a file name for a device, which it does with any suffix."""
    return _DEVICE.fullmatch(name) is not None


def expand_user(path: str | os.PathLike[str]) -> Path:
    """Resolve `~` and `~user`; the path is unchanged for an unknown user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def require_regular_file(path: Path) -> int:
    """Check that a path is a regular file, following links, and return its size in bytes.

    Raises:
        ValueError: a pipe, a device, a socket or a folder, whose reading may never end.
        OSError: it does not exist, or its status cannot be read.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is not a regular file")
    return found.st_size


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Raises:
        ValueError: not a regular file, or a larger one.
        OSError: it cannot be read.
    """
    size = require_regular_file(path)
    if size > limit:
        raise ValueError(f"it has {size} bytes, at most {limit} are allowed")
    with path.open("rb") as file:
        return file.read(limit)


def parse_json(
    data: bytes | str,
    limit: int = JSON_BYTES,
    depth: int = JSON_DEPTH,
    *,
    constants: bool = False,
    pairs: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """Parse JSON of bounded size and nesting, which are checked first.

    `NaN` and `Infinity`, which are not JSON (RFC 8259), are refused, and so are whole numbers of
    more than 300 digits.

    Args:
        limit: maximal bytes, or characters of a `str`.
        depth: maximal nesting of lists and objects.
        constants: accept `NaN` and `Infinity`, which diffusers writes.
        pairs: creates an object from its keys and values, instead of a `dict`.

    Raises:
        ValueError: too large, too deep, or not JSON; the message names the place.
    """
    if len(data) > limit:
        raise ValueError(f"it has {len(data)} bytes, at most {limit} are allowed")
    text = data if isinstance(data, str) else data.decode("utf-8-sig")
    _check_depth(text, depth)
    refuse = None if constants else _refuse_constant
    return json.loads(text, parse_constant=refuse, parse_int=_parse_int, object_pairs_hook=pairs)


def _check_depth(text: str, limit: int) -> None:
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        if match[0] in "[{":
            depth += 1
        elif match[0] in "]}":
            depth -= 1
        if depth > limit:
            raise ValueError(f"it is nested more than {limit} deep")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def _parse_int(digits: str) -> int:
    if len(digits) > 300:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def partial_path(path: Path) -> Path:
    """Temporary path at which a file is written: hidden, in the folder of `path`.

    It is the same for every write, so that a killed process leaves at most one. A very long name
    is replaced by its hash.
    """
    name = path.name
    if len(os.fsencode(name)) > _MAX_NAME_BYTES:
        name = hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()
    return path.with_name(f".{name}{PARTIAL}")


def open_partial(path: Path) -> BinaryIO:
    """Create `partial_path(path)`, removing an old one without following links. OSError."""
    partial = partial_path(path)
    partial.unlink(missing_ok=True)
    return partial.open("xb")


def atomic_write(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a file as `atomic_file` does."""
    with atomic_file(path, sync=sync) as file:
        file.write(data)


@contextlib.contextmanager
def atomic_file(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a file under its temporary name; at the end sync it to disk and rename it to `path`.

    After an error, of the caller too, `path` is unchanged and the temporary file is removed.

    Args:
        sync: wait until the file is on the disk, so that it is complete after a power cut too.

    Raises:
        OSError: the file cannot be written.
    """
    partial = partial_path(path)
    try:
        with open_partial(path) as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(partial):
            error.filename = str(path)  # the name that the user has given
        raise
    if sync:
        _sync_folder(path.parent)


@contextlib.contextmanager
def rewritten_file(path: Path) -> Iterator[BinaryIO]:
    """Open the file that replaces an existing one, as `atomic_file` does.

    A link still leads to the file, which keeps its permissions.

    Raises:
        OSError: the file does not exist or cannot be written.
    """
    real = path.resolve(strict=True)
    with atomic_file(real) as file:
        yield file
        shutil.copymode(real, partial_path(real))


def sync_file(path: Path) -> None:
    """Sync a file's content to disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Sync a folder's entries to disk, where the system supports it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
