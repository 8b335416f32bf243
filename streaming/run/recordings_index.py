"""Which recordings in a folder a server has written, and the right to change them."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sana_stream._files import atomic_write, parse_json, read_bounded, require_regular_file
from sana_stream._text import safe_text
from sana_stream.errors import ConfigError
from sana_stream.streaming.outputs.locks import lock_file
from sana_stream.streaming.stream_name import STREAM_NAME

logger = logging.getLogger(__name__)
INDEX = "recordings.json"
LOCK = ".sana-stream.lock"
_LIMIT = 32 << 20  # bytes of the index
_MOST = 100_000  # files in it, of which the oldest are forgotten first
_NAME = rf"^{STREAM_NAME}\.(mp4|vtt)$"


class _Made(BaseModel):
    """One file as this program left it: what has changed since belongs to another program."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: str = Field(pattern=_NAME)
    size: int = Field(ge=0, lt=2**63)  # bytes; of one that was never completed: of its head
    changed: int | None = Field(ge=0, lt=2**63)  # nanoseconds; None: it was never completed
    head: str = Field(pattern=r"^[0-9a-f]{64}$")  # SHA-256 of the first bytes when it was begun


class _Index(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    recordings: list[_Made] = Field(max_length=_MOST)


class RecordingIndex:
    """The files in a folder that this program wrote there and that were not changed since.

    They are listed in `recordings.json`. A lock on the folder, held as long as this process lives,
    keeps other servers out.
    """

    def __init__(self, folder: Path, mode: int = 0o777) -> None:
        self._folder = folder
        self._mode = mode  # of the folder, where it is made
        self._lock: int | None = None
        self._made: dict[str, _Made] = {}

    def claim(self) -> None:
        """Create the folder if it does not exist, lock it, and read its index.

        Raises:
            ConfigError: another server records there, or `recordings.json` is not of this program.
            OSError: the folder cannot be written.
        """
        self._folder.mkdir(self._mode, parents=True, exist_ok=True)
        if self._lock is not None and self._holds(self._lock):
            return
        self.release()
        lock = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(lock, self._folder)
            self._made = self._read()
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock

    def release(self) -> None:
        """Release the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def check(self) -> None:
        """Try to write the index; raises OSError."""
        self._write()

    def add(self, path: Path) -> None:
        """Record a file that has its first block, and its captions; raises OSError."""
        for file in (path, path.with_suffix(".vtt")):
            size = file.stat().st_size
            self._made[file.name] = _Made(
                name=file.name, size=size, changed=None, head=_head(file, size)
            )
        self._write()

    def complete(self, path: Path) -> None:
        """Record that a file is complete; raises OSError."""
        for file in (path, path.with_suffix(".vtt")):
            made = self._made.pop(file.name, None)
            if made is not None and file.exists():
                found = file.stat()
                new = {"size": found.st_size, "changed": found.st_mtime_ns}
                self._made[file.name] = made.model_copy(update=new)
        self._write()

    def recordings(self) -> list[Path]:
        """The recordings of this program, the oldest first; raises OSError."""
        names = (name for name in self._made if name.endswith(".mp4"))
        paths = (self._folder / name for name in sorted(names, key=lambda n: (len(n), n)))
        return [path for path in paths if path.exists()]

    def remove(self, path: Path) -> bool:
        """Remove a recording and its captions; False when another program has changed it."""
        ours = self._is_ours(path)
        for file in (path, path.with_suffix(".vtt")):
            if ours and self._is_ours(file):
                file.unlink(missing_ok=True)
            self._made.pop(file.name, None)
        self._write()
        return ours

    def _is_ours(self, file: Path) -> bool:
        made = self._made.get(file.name)
        try:
            if made is None or require_regular_file(file) < made.size:
                return False
            if made.changed is None:
                return _head(file, made.size) == made.head
            found = file.stat()
        except (OSError, ValueError):
            return False
        return (found.st_size, found.st_mtime_ns) == (made.size, made.changed)

    def _forget_oldest(self) -> None:
        """Make room for a tenth of the files; those that are gone are forgotten first."""
        there = [name for name in self._made if (self._folder / name).exists()]
        kept = there[-(_MOST - _MOST // 10) :]
        self._made = {name: self._made[name] for name in kept}
        if len(there) > len(kept):
            logger.warning(
                "%s: more than %d files: the oldest are left in the folder, and count no more",
                *(safe_text(self._folder), _MOST),
            )

    def _holds(self, lock: int) -> bool:
        """Whether the lock is still that of the folder, which may be another one by now."""
        with contextlib.suppress(OSError):
            return os.path.samestat(os.fstat(lock), os.stat(self._folder / LOCK))
        return False

    def _read(self) -> dict[str, _Made]:
        path = self._folder / INDEX
        try:
            index = _Index.model_validate(parse_json(read_bounded(path, _LIMIT), _LIMIT))
        except FileNotFoundError:
            return {}
        except (ValidationError, ValueError) as error:
            raise ConfigError(
                f"{path} is not a list of recordings of this program: move it away or record into"
                " another folder"
            ) from error
        return {made.name: made for made in index.recordings}

    def _write(self) -> None:
        if len(self._made) > _MOST:
            self._forget_oldest()
        index = _Index(recordings=list(self._made.values()))
        atomic_write(self._folder / INDEX, index.model_dump_json(indent=1).encode() + b"\n")


def _head(file: Path, size: int) -> str:
    with file.open("rb") as opened:
        return hashlib.sha256(opened.read(min(size, 1 << 20))).hexdigest()


def _lock(descriptor: int, folder: Path) -> None:
    """Lock a folder by a file in it, and write down which process holds it."""
    try:
        lock_file(descriptor)
    except BlockingIOError as error:
        raise ConfigError(
            f"{folder}: another server (process {_holder(descriptor) or 'unknown'}) records there:"
            " end it, or give another folder"
        ) from error
    if not _holder(descriptor).isdigit() and os.fstat(descriptor).st_size:
        raise ConfigError(f"{folder / LOCK} is not a lock of this program: move it away")
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, f"{os.getpid()}\n".encode())


def _holder(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.read(descriptor, 20).decode("ascii", "replace").strip()
