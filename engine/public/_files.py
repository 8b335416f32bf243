"""Reading files within limits, and replacing files as a whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

JSON_BYTES = 16 << 20
JSON_DEPTH = 32
PARTIAL = ".sana-stream.part"
_LONGEST_NAME = 200  # bytes
# a string without its end reaches to the end of the text, so that matching takes linear time
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{\]}]', re.DOTALL)


def expand_user(path: str | os.PathLike[str]) -> Path:
    """The path with `~` and `~user` resolved; as it is for a user that this machine lacks."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def require_regular_file(path: Path) -> int:
    """The size of a regular file in bytes, links followed.

    Raises:
        ValueError: a pipe, a device, a socket or a folder: reading one may never end.
        OSError: it does not exist, or may not be looked at.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is not a regular file")
    return found.st_size


def read_bounded(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes.

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
    """JSON of a bounded size and nesting, checked before it is parsed.

    `NaN` and `Infinity`, which JSON does not have, are refused, and so are whole numbers of more
    than 300 digits.

    Args:
        limit: bytes, or characters of a `str`.
        depth: how many lists and objects may be inside one another.
        constants: let `NaN` and `Infinity` through; diffusers writes them.
        pairs: makes an object of its keys and values, in place of a `dict`.

    Raises:
        ValueError: too large, too deep, or not JSON; the message says what and where.
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
    """Where a file is written before it gets its name: beside it, hidden, a name of ours alone.

    It is always the same one, so that a killed process leaves one at most; that of a very long
    name is shortened.
    """
    name = path.name
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()
    return path.with_name(f".{name}{PARTIAL}")


def open_partial(path: Path) -> BinaryIO:
    """Begin `partial_path(path)` anew; a link in its place is removed, not followed. OSError."""
    partial = partial_path(path)
    partial.unlink(missing_ok=True)
    return partial.open("xb")


def atomic_write(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a file next to `path`, bring it to the disk, then give it the name.

    The name of the partial file is always the same, so that a killed process leaves one at most,
    which the next write replaces. Raises OSError; `path` is untouched then and the partial file
    is gone.

    Args:
        sync: wait until the file is on the disk, so that it is complete after a power cut too.
    """
    partial = partial_path(path)
    try:
        with open_partial(path) as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    if sync:
        _sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Wait until what was written to a file is on the disk, whoever wrote it."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Bring the new name to the disk, where the system has an order for it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
