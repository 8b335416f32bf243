"""A video file that is right at every moment, and the captions beside it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from .captions import CaptionFile
from .containers import BY_SUFFIX
from .errors import SinkError, TargetError
from .format import VideoFormat
from .muxer import Muxer
from .reopen import cut_back
from .wholefile import WholeFile

if TYPE_CHECKING:
    from ..engine.block import Block


class FileSink:
    """Writes a stream to one file: after each block, everything so far is there and plays.

    The header is written at once, so a folder that is not there or not writable shows before any
    work. Raises TargetError for these and for a file that exists, unless `overwrite` is set.
    With `kept`, the file of an earlier run goes on after so many frames; what is in it beyond them
    is cut off, and TargetError tells of a file that has not so many.
    """

    durable = True

    def __init__(
        self,
        path: Path,
        muxer: Muxer,
        video: VideoFormat,
        overwrite: bool = False,
        kept: int = 0,
    ) -> None:
        self.label = str(path)
        self.frames = kept
        self._path = path
        self._muxer = muxer
        self._video = video
        header = muxer.header()
        if kept:
            self._file, self._captions = _reopen(path, video, kept)
        else:
            self._file, self._captions = _create(path, overwrite, header)
        self._end = self._file.tell()

    def write(self, block: Block) -> None:
        """Append one block with a single write."""
        data = self._muxer.add(block)
        try:
            self._require_file()
            self._file.write(data)
            self._caption(block)
            self._end = self._file.tell()
            self.frames += len(block.frames)
        except FileNotFoundError as error:
            raise SinkError(
                f"{self.label}: it was moved or removed while it was being made, with"
                f" {self._amount()} in it; put it back to go on with it"
            ) from error
        except OSError as error:
            self._drop_torn_block()
            raise SinkError(f"{self.label}: {_reason(error)}; {self._kept()}") from error

    def close(self) -> None:
        """Complete the file; one without a single frame is removed."""
        if self._file.closed:
            return
        try:
            if self.frames:
                self._muxer.finish(self._file)
        except OSError as error:
            self._drop_torn_block()
            raise SinkError(
                f"{self.label}: {_reason(error)}, so it has no index; {self._kept()}"
            ) from error
        finally:
            self._file.close()
            self._captions.close()
            if not self.frames:
                self._path.unlink(missing_ok=True)
                self._captions.path.unlink(missing_ok=True)

    def _caption(self, block: Block) -> None:
        time = self._video.frame_time
        end = block.start + len(block.frames)
        self._captions.show(block.prompt, block.start * time, end * time)

    def _require_file(self) -> None:
        """A file removed by somebody would swallow the rest of the video without a word."""
        if not os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._path)):
            raise FileNotFoundError(2, "another file has taken its place")

    def _drop_torn_block(self) -> None:
        with contextlib.suppress(OSError):  # a torn block at the end harms no reader
            self._file.seek(self._end)
            self._file.truncate()

    def _kept(self) -> str:
        return f"{self._amount()} are in it and play"

    def _amount(self) -> str:
        return f"{self.frames} frames ({self._video.seconds(self.frames):.1f} s)"


def _create(path: Path, overwrite: bool, header: bytes) -> tuple[WholeFile, CaptionFile]:
    """Open the video with its header and its captions, or neither."""
    captions = path.with_suffix(".vtt")
    for existing in (path, captions):
        if existing.exists() and not overwrite:
            raise TargetError(f"{existing} exists; choose another name or add --overwrite")
    try:
        file = WholeFile(path, "w+b" if overwrite else "x+b")
    except OSError as error:
        raise TargetError(f"{path}: cannot be written: {_reason(error)}") from error
    at_work = path
    try:
        file.write(header)
        at_work = captions
        return file, CaptionFile(captions, overwrite)
    except OSError as error:
        file.close()
        path.unlink(missing_ok=True)
        raise TargetError(f"{at_work}: cannot be written: {_reason(error)}") from error


def _reopen(path: Path, video: VideoFormat, kept: int) -> tuple[WholeFile, CaptionFile]:
    """Open the video and its captions where an earlier run is to go on."""
    file = None
    try:
        file = WholeFile(path, "r+b")
        cut_back(file, BY_SUFFIX[path.suffix.lower()], kept)
        return file, CaptionFile(path.with_suffix(".vtt"), kept=kept * video.frame_time)
    except (OSError, ValueError) as error:
        if file is not None:
            file.close()
        reason = _reason(error) if isinstance(error, OSError) else error
        raise TargetError(f"{path}: cannot be gone on with: {reason}") from error


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
