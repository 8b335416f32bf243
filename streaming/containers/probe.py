"""Opening a video file to measure or decode it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO

from sana_stream._files import SEALED
from sana_stream._text import os_reason

if TYPE_CHECKING:
    from av.container import InputContainer


@contextmanager
def open_video(file: BinaryIO, container: str | None = None) -> Iterator[InputContainer]:
    """Open a file that has a video; no other file is read.

    Args:
        file: readable and seekable.
        container: the name of a libav demuxer; `None` finds it.

    Raises:
        OSError, ValueError: the file has no video, or it or in the context one of its frames
            cannot be decoded.
    """
    import av
    from av.error import FFmpegError

    try:
        with av.open(
            file, "r", format=container, options=SEALED, metadata_errors="replace"
        ) as opened:
            if not opened.streams.video:
                raise ValueError("no video is in it")
            yield opened
    except FFmpegError as error:  # not each of its classes is an OSError or a ValueError
        raise ValueError(os_reason(error)) from error


def frame_rate(opened: InputContainer) -> Fraction:
    """Frames a second of an opened video; raises ValueError where the file has none."""
    if not (rate := opened.streams.video[0].average_rate):
        raise ValueError("no frame is in it")
    return rate


def count_frames(opened: InputContainer) -> int:
    """The frames of an opened video; without an index its packets are counted."""
    stream = opened.streams.video[0]
    return stream.frames or sum(1 for packet in opened.demux(stream) if packet.size)
