"""The files in which a server records its streams, and the room that they may take."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..streaming.format import Tags, VideoFormat
from ..streaming.open import open_sink
from ..streaming.recording import RecordingSink
from .words import megabytes

SPARE = 200 << 20  # bytes left free for everybody else
_NAME = re.compile(r"stream-(\d{4,})\.mp4")


class Recordings:
    """A file for each stream in one folder.

    With `limit`, they take at most so many bytes: the oldest is removed for a newer one. What is
    not to be kept (`keep`) is removed as soon as another stream begins.
    """

    def __init__(self, folder: Path, keep: bool, limit: int | None) -> None:
        self.keep = keep
        self._folder = folder
        self._limit = limit

    def next(self) -> Path:
        """The file for the next stream."""
        self._folder.mkdir(parents=True, exist_ok=True)
        found = self._found()
        if not self.keep:
            for path in found.values():
                _remove(path)
        return self._folder / f"stream-{max(found, default=-1) + 1:04}.mp4"

    def open(
        self, path: Path, video: VideoFormat, tags: Tags, ended: Callable[[str], None]
    ) -> RecordingSink:
        """Begin the file; `ended` hears when there is no more room for it."""
        file = open_sink(str(path), video, tags=tags)
        return RecordingSink(file, video, partial(self.full, path), ended)

    def full(self, running: Path) -> str | None:
        """Why no more can be written to a file; None when there is room, or some could be made."""
        older = [path for path in self._found().values() if path != running]
        while (why := self._why_full()) is not None:
            if self._limit is None or not older:
                return why
            _remove(older.pop(0))
        return None

    def _why_full(self) -> str | None:
        free = shutil.disk_usage(self._folder).free
        if free < SPARE:
            return f"only {megabytes(free)} are free on the disk of {self._folder}"
        taken = sum(path.stat().st_size for path in self._found().values())
        if self._limit is not None and taken >= self._limit:
            return f"recordings may take {megabytes(self._limit)} (--keep)"
        return None

    def _found(self) -> dict[int, Path]:
        """What is recorded, by number, the oldest first."""
        named = ((_NAME.fullmatch(path.name), path) for path in self._folder.iterdir())
        return dict(sorted((int(match[1]), path) for match, path in named if match))


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_suffix(".vtt").unlink(missing_ok=True)
