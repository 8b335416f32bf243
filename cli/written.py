"""The files of an output on disk, brought to the disk as far as they have grown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from glob import escape
from pathlib import Path

from ..engine.atomic import sync_file
from .options import is_picture_pattern, is_video_file


class Written:
    """What one output has written since the last time.

    An output is a video file, or a row of them, each with its captions; a pattern of pictures; or
    a playlist, whose segments are on the disk before it names them.

    Args:
        output: its name, as given.
        frames: how many frames are safe already.
        segmented: whether a video file is a row of files.
    """

    def __init__(self, output: str, frames: int, segmented: bool = False) -> None:
        self._path = Path(output)
        self._is_pattern = is_picture_pattern(output)
        self._segmented = segmented and is_video_file(output)
        self._frames = frames
        self._part = 0  # number of the last file in a row

    def sync(self, frames: int) -> None:
        """Wait until the output's first frames are on the disk; OSError where they cannot be."""
        for file in self._pictures(frames) if self._is_pattern else self._files():
            sync_file(file)
        self._frames = frames

    def _pictures(self, frames: int) -> Iterator[Path]:
        for number in range(self._frames, frames):
            yield self._path.with_name(self._path.name % number)

    def _files(self) -> Iterator[Path]:
        for video in self._row() if self._segmented else (self._path,):
            yield video
            for captions in (video.with_suffix(".vtt"), video.with_name(f"{video.name}.vtt")):
                if captions.exists():
                    yield captions

    def _row(self) -> list[Path]:
        """The files from the last one on that was there before."""
        stem, suffix = self._path.stem, self._path.suffix
        found = {
            int(match[1]): path
            for path in self._path.parent.glob(f"{escape(stem)}-[0-9]*{escape(suffix)}")
            if (match := re.fullmatch(r"-(\d{4,})", path.stem.removeprefix(stem)))
            and path.is_file()
        }
        later = [path for number, path in sorted(found.items()) if number >= self._part]
        self._part = max(found, default=0)
        return later
