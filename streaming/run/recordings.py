"""The files in which a server records its streams, and the space that they may take."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from sana_stream._text import safe_text
from sana_stream.errors import InvalidOutputError
from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.outputs.options import OutputOptions
from sana_stream.streaming.outputs.recording import LimitedRecording
from sana_stream.streaming.video_format import Metadata, StreamSpec, VideoFormat

from .messages import format_bytes
from .recordings_index import RecordingIndex

logger = logging.getLogger(__name__)
SPARE = 200 << 20  # bytes that stay free for other programs
_NAME = re.compile(r"stream-(\d{4,9})\b.*", re.IGNORECASE)


class Recordings:
    """A file for each stream in one folder.

    With `limit`, they take at most `limit` bytes: the oldest is removed for a newer one. Without
    `keep`, a recording is removed when the next stream begins. Files that this program has not
    written, or that were changed since, are neither counted nor touched.
    """

    def __init__(self, folder: Path, keep: bool, limit: int | None) -> None:
        self.keep = keep
        self._folder = folder
        self._limit = limit
        self._index = RecordingIndex(folder, 0o777 if keep else 0o700)

    def check(self) -> None:
        """Claim the folder before any stream; raises ConfigError when another server uses it.

        A folder that cannot be written is reported only: that may change before a stream begins.
        """
        try:
            self._index.claim()
        except OSError as error:
            logger.warning(
                "%s: %s; streams are not recorded meanwhile", self._folder, _reason(error)
            )

    def begin(
        self,
        video: VideoFormat,
        metadata: Metadata,
        ended: Callable[[str], None],
    ) -> tuple[Path, LimitedRecording]:
        """Begin the file for the next stream.

        Args:
            video: its size and rate.
            metadata: of the file.
            ended: called with a notice for viewers when the recording ends early.

        Raises:
            OSError, InvalidOutputError, ConfigError: nothing can be recorded now.
        """
        path = self.next()
        while True:
            try:
                return path, self.open(path, video, metadata, ended)
            except InvalidOutputError:
                if (other := self.next()) == path:
                    raise
                path = other  # another program has taken the name meanwhile

    def next(self) -> Path:
        """The file for the next stream, under a name that no file has."""
        self._index.claim()
        found = [_NAME.fullmatch(name) for name in os.listdir(self._folder)]
        if not self.keep:
            for path in self._index.recordings():
                self._index.remove(path)
        number = max((int(match[1]) for match in found if match), default=-1) + 1
        return self._folder / f"stream-{number:04}.mp4"

    def holds(self, path: Path) -> bool:
        """Whether a file is in this folder."""
        return path.parent.absolute() == self._folder.absolute() and path.exists()

    def open(
        self,
        path: Path,
        video: VideoFormat,
        metadata: Metadata,
        ended: Callable[[str], None],
        resume_frames: int = 0,
    ) -> LimitedRecording:
        """Open the file, to append after `resume_frames` frames; raises as `begin`.

        A new one exists from the first block.
        """
        self._index.check()
        if (why := self.full(path)) is not None:
            raise InvalidOutputError(why)
        options = OutputOptions(resume_frames=resume_frames)
        file = open_output(path, StreamSpec(video, metadata=metadata), options)
        begun, whole = partial(self._index.add, path), partial(self._index.complete, path)
        return LimitedRecording(file, video, partial(self.full, path), ended, begun, whole)

    def full(self, running: Path) -> str | None:
        """Why no more can be written to a file; None when there is space or some could be freed."""
        older = [path for path in self._index.recordings() if path != running]
        while (why := self._why_full(running)) is not None:
            if self._limit is None or not older:
                return why
            self._index.remove(older.pop(0))
        return None

    def close(self) -> None:
        """Release the folder."""
        self._index.release()

    def _why_full(self, running: Path) -> str | None:
        free = shutil.disk_usage(self._folder).free
        if free < SPARE:
            return f"only {format_bytes(free)} are free on the disk of {safe_text(self._folder)}"
        taken = sum(map(_size, {*self._index.recordings(), running}))
        if self._limit is not None and taken >= self._limit:
            return f"recordings may take {format_bytes(self._limit)} (limit=)"
        return None


def _size(path: Path) -> int:
    with suppress(OSError):  # another program removes it just now
        return path.stat().st_size
    return 0


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
