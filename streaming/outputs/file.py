"""A video file that is right at every moment, and the captions beside it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sana_stream._text import safe_text
from sana_stream.errors import InvalidOutputError, OutputError
from sana_stream.streaming.containers.registry import BY_SUFFIX, Muxer
from sana_stream.streaming.containers.truncate import find_cut, truncate_to_frames
from sana_stream.streaming.video_format import VideoFormat

from .captions import CaptionFile
from .existing_files import check_companion, check_new, check_own
from .locks import OutputLocks
from .unbuffered_file import UnbufferedFile

if TYPE_CHECKING:
    from sana_stream.engine.block import Block


class FileOutput:
    """Writes a stream to one file: after each block, everything so far is there and plays.

    Everything is checked at once and the file is locked; it is opened for writing when the first
    block comes. Raises InvalidOutputError for a folder that is not there or cannot be written, for
    a file that another run is writing, and for one that exists, unless `overwrite` is set. With
    `kept`, the file of an earlier run continues after so many frames: it must bear the id `run`,
    and what is in it beyond these frames is cut off with the first new block. `captions` is the
    WebVTT file, by default `path` with the ending `.vtt`.
    """

    durable = True

    def __init__(
        self,
        path: Path,
        muxer: Muxer,
        video: VideoFormat,
        overwrite: bool = False,
        resume_frames: int = 0,
        *,
        run: str | None = None,
        captions: Path | None = None,
        locks: OutputLocks | None = None,
    ) -> None:
        self.name = safe_text(path)
        self.frames = resume_frames
        self._path = path
        self._captions_path = captions or path.with_suffix(".vtt")
        self._muxer = muxer
        self._header = muxer.header()
        self._video = video
        self._overwrite = overwrite
        self._kept_before = resume_frames
        self._run = run
        self._file: UnbufferedFile | None = None
        self._end = 0
        self._closed = False
        self._locks = locks or OutputLocks()
        self._locks.acquire(path)
        try:
            self._check()
        except BaseException:
            self._locks.release(path)
            raise

    def write(self, block: Block) -> None:
        """Append one block with a single write."""
        data = self._muxer.add(block)
        if self._file is None:
            self._begin()
        file = self._file
        assert file is not None
        try:
            self._require_file(file)
            file.write(data)
            self._caption(block)
            self._end = file.tell()
            self.frames += len(block.frames)
        except FileNotFoundError as error:
            raise OutputError(
                f"{self.name}: it was moved or removed while it was being made, with"
                f" {self._amount()} in it; put it back to resume it"
            ) from error
        except OSError as error:
            self._drop_torn_block(file)
            raise OutputError(f"{self.name}: {_reason(error)}; {self._kept()}") from error

    def close(self) -> None:
        """Complete the file; one without a single frame is removed."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._file is None and self._is_whole():
                self._begin()
            if self._file is not None:
                self._finish(self._file)
        finally:
            self._locks.release(self._path)

    def _check(self) -> None:
        if not self._kept_before:
            check_new(self._path, self._overwrite)
            check_companion(self._captions_path, self._overwrite)
            return
        check_own(self._path, self._run)
        if self._captions_path.exists():
            check_own(self._captions_path, self._run)
        try:
            with self._path.open("rb") as file:
                find_cut(file, self._container, self._kept_before)
        except (OSError, ValueError) as error:
            raise InvalidOutputError(f"{self.name}: cannot be resumed: {_reason(error)}") from error

    @property
    def _container(self) -> str:
        return BY_SUFFIX[self._path.suffix.lower()]

    def _begin(self) -> None:
        """Open for writing, which is when anything that is there changes."""
        kept, overwrite = self._kept_before, self._overwrite
        file: UnbufferedFile | None = None
        label = self.name
        try:
            file = UnbufferedFile(self._path, "r+b" if kept else "w+b" if overwrite else "x+b")
            if kept:
                truncate_to_frames(file, self._container, kept)
            else:
                file.write(self._header)
            label = safe_text(self._captions_path)
            self._captions = CaptionFile(
                self._captions_path, overwrite, kept * self._video.frame_time, self._run
            )
        except (OSError, ValueError) as error:
            if file is not None:
                file.close()
                if not kept:
                    self._path.unlink(missing_ok=True)
            raise OutputError(f"{label}: cannot be written: {_reason(error)}") from error
        self._file, self._end = file, file.tell()

    def _is_whole(self) -> bool:
        """Whether the file of an earlier run only lacks its end, because no block was left."""
        if not self._kept_before:
            return False
        try:
            with self._path.open("rb") as file:
                return find_cut(file, self._container, self._kept_before).last
        except (OSError, ValueError):
            return False

    def _finish(self, file: UnbufferedFile) -> None:
        try:
            if self.frames:
                self._muxer.finish(file)
        except OSError as error:
            self._drop_torn_block(file)
            raise OutputError(
                f"{self.name}: {_reason(error)}, so it has no index; {self._kept()}"
            ) from error
        finally:
            file.close()
            self._captions.close()
            if not self.frames:
                self._path.unlink(missing_ok=True)
                self._captions_path.unlink(missing_ok=True)

    def _caption(self, block: Block) -> None:
        time = self._video.frame_time
        end = block.start + len(block.frames)
        self._captions.show(block.prompt, block.start * time, end * time)

    def _require_file(self, file: UnbufferedFile) -> None:
        """A file removed by somebody would swallow the rest of the video without a word."""
        if not os.path.samestat(os.fstat(file.fileno()), os.stat(self._path)):
            raise FileNotFoundError(2, "another file has taken its place")

    def _drop_torn_block(self, file: UnbufferedFile) -> None:
        with contextlib.suppress(OSError):  # a torn block at the end harms no reader
            file.seek(self._end)
            file.truncate()

    def _kept(self) -> str:
        return f"{self._amount()} are in it and play"

    def _amount(self) -> str:
        return f"{self.frames} frames ({self._video.seconds(self.frames):.1f} s)"


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
