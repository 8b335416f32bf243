"""A video that never ends, as a row of files of equal length."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sana_stream._text import safe_text
from sana_stream.errors import InvalidOutputError, OutputError
from sana_stream.streaming.containers.truncate import count_frames
from sana_stream.streaming.video_format import VideoFormat

from .base import Output
from .existing_files import check_companion, check_own
from .locks import OutputLocks

if TYPE_CHECKING:
    from sana_stream.engine.block import Block

OpenFile = Callable[[Path, int, bool], Output]
"""Opens one file: its path, how many frames of it are kept, whether it may be replaced."""


class SegmentedOutput:
    """Writes `name-0001.mp4`, `name-0002.mp4`, …, changing at the first block after `seconds`.

    Times in each file begin at zero. Raises InvalidOutputError when files of such names exist,
    unless `overwrite` is set and this program has written them. With `kept`, the files of an
    earlier run continue after so many frames in all; they bear the id `run`. Files of that row that
    are not to stay are removed when the first block comes.
    """

    durable = True

    def __init__(
        self,
        path: Path,
        seconds: float,
        video: VideoFormat,
        open_file: OpenFile,
        overwrite: bool = False,
        resume_frames: int = 0,
        *,
        run: str | None = None,
        locks: OutputLocks | None = None,
    ) -> None:
        if seconds <= 0:
            raise InvalidOutputError(f"files of {seconds:g} seconds: must be more than 0")
        self.name = safe_text(path.with_stem(path.stem + "-*"))
        self._path = path
        self._seconds = seconds
        self._video = video
        self._open_file = open_file
        self._number = 1
        self._before = 0  # frames in files that are complete
        self._surplus: list[Path] = []  # files that are removed when the first block comes
        self._closed = False
        self._locks = locks or OutputLocks()
        self._locks.acquire(path)
        try:
            self._check(overwrite, resume_frames, run)
            self._file = self._open_file(
                self._part(self._number), resume_frames - self._before, overwrite
            )
        except BaseException:
            self._locks.release(path)
            raise

    @property
    def frames(self) -> int:
        """Frames in all files together."""
        return self._before + self._file.frames

    def write(self, block: Block) -> None:
        """Append a block, to a new file when the time of the present one is over."""
        while self._surplus:
            old = self._surplus.pop()
            old.unlink(missing_ok=True)
            old.with_suffix(".vtt").unlink(missing_ok=True)
        if self._video.seconds(self._file.frames) >= self._seconds:
            self._file.close()
            following = self._open_next()  # may fail: what is counted stays true then
            self._before += self._file.frames
            self._number += 1
            self._file = following
        self._file.write(replace(block, start=self._file.frames))

    def close(self) -> None:
        """Complete the present file."""
        if self._closed:
            return
        self._closed = True
        try:
            self._file.close()
        finally:
            self._locks.release(self._path)

    def _open_next(self) -> Output:
        """In mid-stream a file that cannot be begun is a failure of the output, not of a wish."""
        try:
            return self._open_file(self._part(self._number + 1), 0, False)
        except InvalidOutputError as error:
            seconds = self._video.seconds(self.frames)
            raise OutputError(
                f"{error}; {self.frames} frames ({seconds:.1f} s) are kept"
            ) from error

    def _part(self, number: int) -> Path:
        return self._path.with_stem(f"{self._path.stem}-{number:04}")

    def _check(self, overwrite: bool, kept: int, run: str | None) -> None:
        """Look at the files that are there: which stay, which are removed, which forbid a run."""
        old = self._old_files()
        for path in old.values():
            captions = path.with_suffix(".vtt")
            for file in (path, captions) if captions.exists() else (path,):
                if kept:
                    check_own(file, run)
                else:
                    check_companion(file, overwrite)
        if kept:
            self._skip_complete_files(kept)
        self._surplus = [path for number, path in old.items() if number > self._number]

    def _skip_complete_files(self, kept: int) -> None:
        """Go to the file in which the last frame lies that is kept."""
        while self._part(self._number + 1).exists():
            frames = count_frames(self._part(self._number))
            if self._before + frames >= kept:
                return
            self._before += frames
            self._number += 1

    def _old_files(self) -> dict[int, Path]:
        """Files of such names, by their numbers."""
        ours = re.compile(
            re.escape(self._path.stem) + r"-(\d{4,})" + re.escape(self._path.suffix), re.IGNORECASE
        )
        if not self._path.parent.is_dir():
            return {}
        found = ((ours.fullmatch(path.name), path) for path in self._path.parent.iterdir())
        return dict(sorted((int(match[1]), path) for match, path in found if match))
