"""The files in which a server records its streams, and the space that they may take."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

from sana_stream._text import os_reason, safe_text
from sana_stream.errors import InvalidOutputError
from sana_stream.streaming.outputs.locks import OutputLocks
from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.outputs.options import OutputOptions
from sana_stream.streaming.outputs.recording import LimitedRecording
from sana_stream.streaming.stream_name import STREAM_NAME, stream_name, stream_of
from sana_stream.streaming.video_format import Metadata, StreamSpec, VideoFormat

from .checkpoint_files import SUFFIX, checkpoint_of
from .disk_space import SPARE, free_bytes
from .messages import format_bytes
from .recordings_index import RecordingIndex

if TYPE_CHECKING:
    from sana_stream.streaming.audio import AudioTrack

logger = logging.getLogger(__name__)
JOB_SUFFIX = ".job.json"  # of the files that keep the streams that have not ended
CUT_PICTURE_SUFFIX = ".job.png"  # of the pictures that clients cut them to
START_SUFFIX = ".start.ckpt"  # of the checkpoints with which branches begin
START_PICTURE_SUFFIX = ".start.png"  # of the pictures with which streams begin
_OTHERS = (JOB_SUFFIX, CUT_PICTURE_SUFFIX, START_SUFFIX, START_PICTURE_SUFFIX)
_NAME = re.compile(rf"{STREAM_NAME}\b.*", re.IGNORECASE)


class Recordings:
    """A file for each stream in one folder; streams may run at the same time.

    With `limit`, they take at most `limit` bytes together with their checkpoints: the oldest
    recording of an ended stream is removed for a newer one, never that of a stream that runs or is
    to be resumed. Without `keep`, `forget` removes the recording of a stream. Files that this
    program has not written, or that were changed since, are neither counted nor touched. With
    `sign`, the path of a certificate and its key, finished files get content credentials.

    Its methods may be called from any thread.
    """

    def __init__(
        self, folder: Path, keep: bool, limit: int | None, sign: Path | None = None
    ) -> None:
        self.keep = keep
        self._sign = sign
        self._folder = folder
        self._limit = limit
        self._index = RecordingIndex(folder, 0o777 if keep else 0o700)
        self._lock = RLock()
        self._running: set[Path] = set()
        self._of_stream: dict[int, Path] = {}
        self._held: set[int] = set()  # streams that are to be resumed

    def check(self) -> bool:
        """Claim the folder before any stream; raises ConfigError when another server uses it.

        Returns:
            False where the folder cannot be written. That is logged: it may change before a stream
            begins.
        """
        with self._lock:
            try:
                self._index.claim()
            except OSError as error:
                logger.warning(
                    "%s: %s; streams are not recorded meanwhile", self._folder, os_reason(error)
                )
                return False
        return True

    def first_id(self) -> int:
        """The id after those of all streams in the folder; 1 for an empty one."""
        try:
            return max((number for number, _ in self._files()), default=0) + 1
        except OSError:
            return 1

    def begin(
        self,
        stream_id: int,
        video: VideoFormat,
        metadata: Metadata,
        ended: Callable[[str], None],
        locks: OutputLocks | None = None,
        audio: AudioTrack | None = None,
    ) -> tuple[Path, LimitedRecording]:
        """Begin the file of a stream, which exists from the first block.

        It is named by the id of the stream, or by a higher number where that name is taken.

        Args:
            stream_id: its id.
            video: its size and rate.
            metadata: of the file.
            ended: called with a notice for viewers when the recording ends early.
            locks: those of the run, whose checkpoint is next to the file.
            audio: its sound.

        Raises:
            OSError, InvalidOutputError, ConfigError: nothing can be recorded now.
        """
        with self._lock:
            self._index.claim()
            path = self._free_path(stream_id)
            while True:
                try:
                    own = self.open(*(path, stream_id, video, metadata, ended, locks), audio=audio)
                    return path, own
                except InvalidOutputError:
                    if (other := self._free_path(stream_id)) == path:
                        raise
                    path = other  # another program has taken the name meanwhile

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self._folder

    def film(self, stream_id: int) -> Path | None:
        """The recording of a stream, also of an earlier server; None where there is none."""
        with self._lock:
            path = self._of_stream.get(stream_id, self._folder / stream_name(stream_id, ".mp4"))
            return path if path in self._index.recordings() else None

    def finished(self) -> dict[int, Path]:
        """The recordings of streams that have ended, also of earlier servers, by stream."""
        with self._lock:
            named = {path: stream_id for stream_id, path in self._of_stream.items()}
            numbers = {path: stream_of(path.stem) for path in self._ended()}
            return {
                named.get(path, number): path
                for path, number in numbers.items()
                if number is not None
            }

    def interrupted(self) -> dict[int, Path]:
        """The recordings of streams that are still to be resumed, by stream."""
        with self._lock:
            paths = set(self._index.recordings()) - self._running
            return {each: path for each, path in self._held_paths().items() if path in paths}

    def hold(self, stream_id: int, path: Path | None = None) -> None:
        """Keep the recording of a stream that is to be resumed, until `release`.

        Args:
            stream_id: its id.
            path: of its recording; None: the one that was opened for it.
        """
        with self._lock:
            if path is not None:
                self._of_stream[stream_id] = self._folder / path.name
            self._held.add(stream_id)

    def release(self, stream_id: int) -> None:
        """Treat the recording of a stream that is not resumed as that of an ended one."""
        with self._lock:
            self._held.discard(stream_id)

    def holds(self, path: Path) -> bool:
        """Whether a file is in this folder."""
        return path.parent.absolute() == self._folder.absolute() and path.exists()

    def open(
        self,
        path: Path,
        stream_id: int,
        video: VideoFormat,
        metadata: Metadata,
        ended: Callable[[str], None],
        locks: OutputLocks | None = None,
        resume_frames: int = 0,
        audio: AudioTrack | None = None,
    ) -> LimitedRecording:
        """Open the file of a stream, to append after `resume_frames` frames; raises as `begin`."""
        path = self._folder / path.name  # as the index names it
        with self._lock:
            self._index.check()
            if (why := self.full(path)) is not None:
                raise InvalidOutputError(why)
            spec = StreamSpec(video, metadata=metadata, audio=audio)
            options = OutputOptions(resume_frames=resume_frames, sign=self._sign)
            file = open_output(path, spec, options, locks=locks)
            self._running.add(path)
            self._of_stream[stream_id] = path
        return LimitedRecording(
            file,
            video,
            full=partial(self.full, path),
            on_end=ended,
            on_begin=partial(self._add, path),
            on_complete=partial(self._complete, path),
        )

    def full(self, running: Path) -> str | None:
        """Why no more can be written to a file; None when there is space or some could be freed."""
        with self._lock:
            older = [path for path in self._ended() if path != running]
            while (why := self._why_full(running)) is not None:
                if self._limit is None or not older:
                    return why
                self._remove(older.pop(0))
            return None

    def unavailable(self) -> str | None:
        """Why no further stream could be recorded now, without names of files; None: one could."""
        with self._lock:
            try:
                folder = next(
                    each for each in (self._folder, *self._folder.parents) if each.exists()
                )
                free = free_bytes(folder)
                older = self._ended()
            except OSError as error:
                return f"the folder of recordings: {os_reason(error)}"
            if not os.access(folder, os.W_OK | os.X_OK):
                return "the folder of recordings cannot be written"
            if free < SPARE:
                return f"only {format_bytes(free)} are free on the disk of the recordings"
            if self._limit is not None and not older and self._taken() >= self._limit:
                return f"those of the running streams take {format_bytes(self._limit)}, their limit"
            return None

    def forget(self, stream_id: int) -> None:
        """Remove the recording of an ended stream, unless recordings are kept."""
        with self._lock:
            path = self._of_stream.pop(stream_id, None)
            if path is not None and not self.keep and path not in self._running:
                with suppress(OSError):  # the folder is gone
                    self._remove(path)

    def discard(self, path: Path) -> None:
        """Remove a recording of a stream that does not run.

        Raises:
            OSError: it cannot be removed.
            ConfigError: another server uses the folder.
        """
        with self._lock:
            self._index.claim()
            self._remove(path)

    def close(self) -> None:
        """Release the folder."""
        with self._lock:
            self._index.release()

    def _ended(self) -> list[Path]:
        """The recordings that no stream continues, the oldest first; raises OSError."""
        others = {*self._running, *self._held_paths().values()}
        return [path for path in self._index.recordings() if path not in others]

    def _held_paths(self) -> dict[int, Path]:
        return {each: self._of_stream[each] for each in self._held if each in self._of_stream}

    def _add(self, path: Path) -> None:
        with self._lock:
            self._index.add(path)

    def _complete(self, path: Path) -> None:
        with self._lock:
            self._running.discard(path)
            self._index.complete(path)

    def _remove(self, path: Path) -> None:
        own = checkpoint_of(path)  # before the video is gone
        if self._index.remove(path) and own is not None:
            own.unlink(missing_ok=True)

    def _free_path(self, stream_id: int) -> Path:
        """The file named by an id, or by the next number where that name is taken."""
        taken = {number for number, name in self._files() if not name.endswith(_OTHERS)}
        number = max(self.first_id(), stream_id) if stream_id in taken else stream_id
        return self._folder / stream_name(number, ".mp4")

    def _files(self) -> Iterator[tuple[int, str]]:
        """The files that are named as those of streams, with their numbers."""
        for name in os.listdir(self._folder):
            if (match := _NAME.fullmatch(name)) is not None:
                yield int(match[1]), name

    def _why_full(self, running: Path) -> str | None:
        free = free_bytes(self._folder)
        if free < SPARE:
            return f"only {format_bytes(free)} are free on the disk of {safe_text(self._folder)}"
        if self._limit is not None and self._taken(running) >= self._limit:
            return f"recordings may take {format_bytes(self._limit)} (limit=)"
        return None

    def _taken(self, *more: Path) -> int:
        """Bytes of all recordings and of `more`, with their checkpoints."""
        recorded = {*self._index.recordings(), *more}
        return sum(_size(path) + _size(path.with_suffix(SUFFIX)) for path in recorded)


def _size(path: Path) -> int:
    with suppress(OSError):  # another program removes it just now
        return path.stat().st_size
    return 0
