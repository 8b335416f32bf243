"""A video that never ends, as a row of files of equal length."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import TargetError
from .format import VideoFormat
from .sink import Sink

if TYPE_CHECKING:
    from ..engine.block import Block


class SegmentedSink:
    """Writes `name-0001.mp4`, `name-0002.mp4`, …, changing at the first block after `seconds`.

    `open_file` opens one file. Times in each begin at zero. Raises TargetError when files of such
    names exist, unless `overwrite` is set.
    """

    durable = True

    def __init__(
        self,
        path: Path,
        seconds: float,
        video: VideoFormat,
        open_file: Callable[[Path], Sink],
        overwrite: bool = False,
    ) -> None:
        if seconds <= 0:
            raise TargetError(f"files of {seconds:g} seconds: must be more than 0")
        self.label = str(path.with_stem(path.stem + "-*"))
        self._path = path
        self._seconds = seconds
        self._video = video
        self._open_file = open_file
        if not overwrite:
            self._refuse_old_files()
        self._number = 1
        self._before = 0  # frames in files that are complete
        self._file = self._open()

    @property
    def frames(self) -> int:
        """Frames in all files together."""
        return self._before + self._file.frames

    def write(self, block: Block) -> None:
        """Append a block, to a new file when the time of the present one is over."""
        if self._video.seconds(self._file.frames) >= self._seconds:
            self._file.close()
            self._before += self._file.frames
            self._number += 1
            self._file = self._open()
        self._file.write(replace(block, start=self._file.frames))

    def close(self) -> None:
        """Complete the present file."""
        self._file.close()

    def _open(self) -> Sink:
        return self._open_file(self._path.with_stem(f"{self._path.stem}-{self._number:04}"))

    def _refuse_old_files(self) -> None:
        ours = re.compile(
            re.escape(self._path.stem) + r"-\d{4,}" + re.escape(self._path.suffix), re.IGNORECASE
        )
        if self._path.parent.is_dir():
            for path in self._path.parent.iterdir():
                if ours.fullmatch(path.name):
                    raise TargetError(f"{path} exists; choose another name or allow overwriting")
