"""A video that never ends, as a row of files of equal length."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import SinkError, TargetError
from .format import VideoFormat
from .reopen import count_frames
from .sink import Sink

if TYPE_CHECKING:
    from ..engine.block import Block


class SegmentedSink:
    """Writes `name-0001.mp4`, `name-0002.mp4`, …, changing at the first block after `seconds`.

    `open_file` opens one file, of which so many frames are kept. Times in each begin at zero.
    Raises TargetError when files of such names exist, unless `overwrite` is set. With `kept`, the
    files of an earlier run go on after so many frames in all.
    """

    durable = True

    def __init__(
        self,
        path: Path,
        seconds: float,
        video: VideoFormat,
        open_file: Callable[[Path, int], Sink],
        overwrite: bool = False,
        kept: int = 0,
    ) -> None:
        if seconds <= 0:
            raise TargetError(f"files of {seconds:g} seconds: must be more than 0")
        self.label = str(path.with_stem(path.stem + "-*"))
        self._path = path
        self._seconds = seconds
        self._video = video
        self._open_file = open_file
        if not overwrite and not kept:
            self._refuse_old_files()
        self._number = 1
        self._before = 0  # frames in files that are complete
        if kept:
            self._skip_complete_files(kept)
        self._file = self._open(kept - self._before)
        if kept:
            self._remove_later_files()

    @property
    def frames(self) -> int:
        """Frames in all files together."""
        return self._before + self._file.frames

    def write(self, block: Block) -> None:
        """Append a block, to a new file when the time of the present one is over."""
        if self._video.seconds(self._file.frames) >= self._seconds:
            self._file.close()
            following = self._open_next()  # may fail: what is counted stays true then
            self._before += self._file.frames
            self._number += 1
            self._file = following
        self._file.write(replace(block, start=self._file.frames))

    def close(self) -> None:
        """Complete the present file."""
        self._file.close()

    def _open(self, kept: int) -> Sink:
        return self._open_file(self._part(self._number), kept)

    def _open_next(self) -> Sink:
        """In mid-stream a file that cannot be begun is a failure of the output, not of a wish."""
        try:
            return self._open_file(self._part(self._number + 1), 0)
        except TargetError as error:
            seconds = self._video.seconds(self.frames)
            raise SinkError(f"{error}; {self.frames} frames ({seconds:.1f} s) are kept") from error

    def _part(self, number: int) -> Path:
        return self._path.with_stem(f"{self._path.stem}-{number:04}")

    def _skip_complete_files(self, kept: int) -> None:
        """Go to the file in which the last frame lies that is kept."""
        while self._part(self._number + 1).exists():
            frames = count_frames(self._part(self._number))
            if self._before + frames >= kept:
                return
            self._before += frames
            self._number += 1

    def _remove_later_files(self) -> None:
        for number, path in self._old_files():
            if number > self._number:
                path.unlink()
                path.with_suffix(".vtt").unlink(missing_ok=True)

    def _refuse_old_files(self) -> None:
        for _, path in self._old_files():
            raise TargetError(f"{path} exists; choose another name or add --overwrite")

    def _old_files(self) -> list[tuple[int, Path]]:
        """Files of such names, with their numbers."""
        ours = re.compile(
            re.escape(self._path.stem) + r"-(\d{4,})" + re.escape(self._path.suffix), re.IGNORECASE
        )
        if not self._path.parent.is_dir():
            return []
        found = ((ours.fullmatch(path.name), path) for path in self._path.parent.iterdir())
        return [(int(match[1]), path) for match, path in found if match]
