"""One writer an output: a lock of the operating system on a hidden file beside it.

The lock belongs to an open file of the process: it ends with the process, however that ends, so a
lock file that a killed process has left is no obstacle. The file says who holds the lock.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import socket
import sys
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from sana_stream._files import parse_json
from sana_stream._text import safe_text
from sana_stream.errors import InvalidOutputError

NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""The error numbers of a file system that has no locks."""

if sys.platform == "win32":
    import msvcrt

    _BEYOND = 1 << 30  # bytes; a locked byte cannot be read, so it lies behind all that is

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
_LONGEST = 200  # bytes of a stem that a lock's name holds as it is


class OutputLocks:
    """The outputs that one run may write, held until they are released or the process ends.

    All files of one stem (`film.mp4`, `film.vtt`, `film.ckpt`) share one lock; a run may hold it
    several times. `report` gets a line where a file system has no locks: the run goes on then.
    """

    def __init__(self, report: Callable[[str], None] = lambda _: None) -> None:
        self._report = report
        self._held: dict[Path, tuple[FileIO | None, int]] = {}  # lock file, how often
        self._guard = Lock()

    def acquire(self, output: Path) -> None:
        """Hold the lock of an output.

        Raises:
            InvalidOutputError: another run holds it (the message says which), or the folder is not
            there
                or cannot be written.
        """
        path = lock_path(output)
        with self._guard:
            file, count = self._held.get(path, (None, 0))
            if not count:
                file = self._open(path, output)
            self._held[path] = (file, count + 1)

    def release(self, output: Path) -> None:
        """Give an output's lock back once; the last time removes its file."""
        path = lock_path(output)
        with self._guard:
            file, count = self._held.get(path, (None, 0))
            if count > 1:
                self._held[path] = (file, count - 1)
            elif count:
                del self._held[path]
                _give_up(path, file)

    def release_all(self) -> None:
        """Give every lock back."""
        with self._guard:
            for path, (file, _) in self._held.items():
                _give_up(path, file)
            self._held.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release_all()

    def _open(self, path: Path, output: Path) -> FileIO | None:
        try:
            return _locked(path)
        except BlockingIOError as error:
            raise InvalidOutputError(
                f"{safe_text(output)}: is being written by {_holder(path)}; wait for it, stop it,"
                " or choose another name"
            ) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                reason = (error.strerror or str(error)).lower()
                what = f" its lock {safe_text(path.name)}" if os.path.lexists(path) else ""
                raise InvalidOutputError(
                    f"{safe_text(output)}:{what} cannot be written: {reason}"
                ) from error
            self._report(
                f"{safe_text(output)}: this file system has no locks; do not start a second run on"
                " it while this one lasts"
            )
            return None


def lock_path(output: Path) -> Path:
    """The file whose lock stands for an output, beside it; links are followed.

    `film.mp4` and `film.ckpt` have `.film.sana-stream.lock`. A very long name is shortened.
    """
    path = Path(os.path.realpath(output))
    stem = path.stem
    if len(os.fsencode(stem)) > _LONGEST:
        stem = hashlib.blake2b(os.fsencode(stem), digest_size=16).hexdigest()
    return path.with_name(f".{stem}.sana-stream.lock")


def _locked(path: Path) -> FileIO:
    """The lock file, locked: the one that has the name, for another run may be removing its own."""
    while True:
        file = FileIO(path, "a+", opener=_open_here)
        try:
            _check_ours(file)
            lock_file(file.fileno())
            if _has_name(file, path):
                _write_holder(file)
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _open_here(path: str, flags: int) -> int:
    """Open the file that has the name: a link could lead to a file of somebody else."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _check_ours(file: FileIO) -> None:
    file.seek(0)
    start = file.read(len(_BEGINNING))
    if not _BEGINNING.startswith(start):  # a killed process may have left a part of it
        raise FileExistsError(errno.EEXIST, "it exists and is not a lock file")


def _has_name(file: FileIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _write_holder(file: FileIO) -> None:
    """Say who holds the lock; on a full disk the file stays empty, and the lock is held."""
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
    """Who holds a lock, as far as its file can be read."""
    try:
        with path.open("rb") as file:
            told = parse_json(file.read(_LARGEST))
        process, host = (safe_text(told[key], 60) for key in ("process", "host"))
        return f"process {process} on {host} ({safe_text(told['command'], 100)})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _give_up(path: Path, file: FileIO | None) -> None:
    """Remove a lock file while it is locked: whoever opens it then sees that its name is gone."""
    if file is None:
        return
    with contextlib.suppress(OSError):
        if _has_name(file, path):
            path.unlink()
    file.close()
