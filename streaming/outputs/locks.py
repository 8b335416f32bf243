"""One writer for each output: a lock of the operating system on a hidden file next to it.

The lock belongs to an open file of the process and ends with the process, however that ends, so a
lock file left by a killed process locks nothing. The file names the process that holds the lock.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import socket
import sys
from io import FileIO
from pathlib import Path
from threading import Lock
from typing import Self

from sana_stream._files import parse_json
from sana_stream._text import os_reason, safe_text
from sana_stream.errors import InvalidOutputError

logger = logging.getLogger(__name__)

NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""The error numbers of a file system that has no locks."""

if sys.platform == "win32":
    import msvcrt

    _BEYOND = 1 << 30  # bytes; a locked byte cannot be read, so it lies after all content

    def lock_file(descriptor: int) -> None:
        """Lock a file, without waiting.

        Raises:
            BlockingIOError: another open file holds the lock.
            OSError: it cannot be locked.
        """
        os.lseek(descriptor, _BEYOND, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(errno.EAGAIN, "the file is locked") from error

else:
    import fcntl

    def lock_file(descriptor: int) -> None:
        """Lock a file, without waiting.

        Raises:
            BlockingIOError: another open file holds the lock.
            OSError: it cannot be locked.
        """
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_FORMAT = "sana-stream lock"
_BEGINNING = f'{{"format": "{_FORMAT}"'.encode()
_LARGEST = 4096  # bytes of a lock file
_LONGEST = 200  # bytes of a stem; a longer one is hashed


class OutputLocks:
    """The outputs that one run may write, held until they are released or the process ends.

    All files of one stem (`film.mp4`, `film.vtt`, `film.ckpt`) share one lock; a run may hold it
    several times. A file system without locks is logged as a warning, and the run continues.
    """

    def __init__(self) -> None:
        self._held: dict[Path, tuple[FileIO | None, int]] = {}  # lock file, how often
        self._guard = Lock()

    def acquire(self, output: Path) -> None:
        """Hold the lock of an output.

        Raises:
            InvalidOutputError: another run holds it (the message names its process), or the folder
                does not exist or cannot be written.
        """
        path = lock_path(output)
        with self._guard:
            file, count = self._held.get(path, (None, 0))
            if not count:
                file = self._open(path, output)
            self._held[path] = (file, count + 1)

    def release(self, output: Path) -> None:
        """Release an output's lock once; the last release removes its file."""
        path = lock_path(output)
        with self._guard:
            file, count = self._held.get(path, (None, 0))
            if count > 1:
                self._held[path] = (file, count - 1)
            elif count:
                del self._held[path]
                _remove(path, file)

    def release_all(self) -> None:
        """Release every lock."""
        with self._guard:
            for path, (file, _) in self._held.items():
                _remove(path, file)
            self._held.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release_all()

    def _open(self, path: Path, output: Path) -> FileIO | None:
        try:
            return _open_locked(path)
        except BlockingIOError as error:
            raise InvalidOutputError(
                f"{safe_text(output)}: is being written by {_holder(path)}; wait for it, stop it,"
                " or choose another name"
            ) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                what = f" its lock {safe_text(path.name)}" if os.path.lexists(path) else ""
                raise InvalidOutputError(
                    f"{safe_text(output)}:{what} cannot be written: {os_reason(error)}"
                ) from error
            logger.warning(
                "%s: this file system has no locks; do not write the same output from a second run",
                safe_text(output),
            )
            return None


def lock_path(output: Path) -> Path:
    """The lock file of an output, next to it; links are followed.

    `film.mp4` and `film.ckpt` have `.film.sana-stream.lock`. A very long name is shortened.
    """
    path = Path(os.path.realpath(output))
    stem = path.stem
    if len(os.fsencode(stem)) > _LONGEST:
        stem = hashlib.blake2b(os.fsencode(stem), digest_size=16).hexdigest()
    return path.with_name(f".{stem}.sana-stream.lock")


def _open_locked(path: Path) -> FileIO:
    """Open and lock the file of this name; another run may remove the file that it had there."""
    while True:
        file = FileIO(path, "a+", opener=_open_here)
        try:
            _check_format(file)
            lock_file(file.fileno())
            if _has_name(file, path):
                _write_holder(file)
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _open_here(path: str, flags: int) -> int:
    """Open the file itself: a link could lead to a foreign file."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _check_format(file: FileIO) -> None:
    file.seek(0)
    start = file.read(len(_BEGINNING))
    if not _BEGINNING.startswith(start):  # a killed process may have left it incomplete
        raise FileExistsError(errno.EEXIST, "it exists and is not a lock file")


def _has_name(file: FileIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _write_holder(file: FileIO) -> None:
    """Write who holds the lock; on a full disk the file stays empty, and the lock is held."""
    holder = {
        "format": _FORMAT,
        "process": os.getpid(),
        "host": socket.gethostname(),
        "command": safe_text(" ".join(sys.argv), 300),
    }
    with contextlib.suppress(OSError):
        file.truncate(0)
        file.write(json.dumps(holder).encode() + b"\n")


def _holder(path: Path) -> str:
    """The process that holds a lock, as far as its file can be read."""
    try:
        with path.open("rb") as file:
            found = parse_json(file.read(_LARGEST))
        process, host = (safe_text(found[key], 60) for key in ("process", "host"))
        return f"process {process} on {host} ({safe_text(found['command'], 100)})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _remove(path: Path, file: FileIO | None) -> None:
    """Remove a lock file while it is locked, so that another process sees that its name is gone."""
    if file is None:
        return
    with contextlib.suppress(OSError):
        if _has_name(file, path):
            path.unlink()
    file.close()
