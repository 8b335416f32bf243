"""Uncompressed video: raw RGB, or YUV4MPEG2 with its header."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from sana_stream.streaming.video_format import VideoFormat

if TYPE_CHECKING:
    from sana_stream.engine.block import Block, BlockPart

    from .chapters import Chapter

_LINE = b"FRAME\n"
_LONGEST = 96  # bytes of a header that ffmpeg reads, its end included


class RawMuxer:
    """Raw RGB frames: three bytes for each pixel, row by row, without any header."""

    def header(self) -> bytes:
        """No bytes; the reader must know the size and the rate."""
        return b""

    def add(self, block: Block | BlockPart) -> memoryview:
        """The frames of the block, not copied, because a large copy would block the interpreter."""
        return np.ascontiguousarray(block.frames).data.cast("B")

    def trailer(self) -> bytes:
        """No bytes."""
        return b""

    def finish(self, file: BinaryIO, chapters: Sequence[Chapter] = ()) -> None:
        """Do nothing."""


class Y4mMuxer(RawMuxer):
    """YUV4MPEG2: one line that describes the stream, then planes in 4:2:0.

    The format cannot name its colour matrix, so it is BT.601, which readers assume. `run` is the id
    of the run, for the header.
    """

    def __init__(self, video: VideoFormat, run: str | None = None) -> None:
        rate = video.rate
        self._planes = video.width * video.height * 3 // 2  # bytes of a frame
        line = (
            f"YUV4MPEG2 W{video.width} H{video.height} F{rate.numerator}:{rate.denominator} "
            "Ip A1:1 C420mpeg2"
        )
        colour_range = " XCOLORRANGE=LIMITED"  # which readers assume
        mark = "" if run is None else f" XRUN={run}"
        more = colour_range + mark if len(line + colour_range + mark) < _LONGEST - 1 else mark
        self._header = f"{line}{more}\n".encode()

    def header(self) -> bytes:
        """Size, rate and layout of the planes."""
        return self._header

    def add(self, block: Block | BlockPart) -> memoryview:
        """The frames of the block, each after a line of its own."""
        whole = np.empty((len(block.frames), len(_LINE) + self._planes), np.uint8)
        for row, rgb in zip(whole, block.frames, strict=True):
            row[: len(_LINE)] = np.frombuffer(_LINE, np.uint8)
            row[len(_LINE) :] = _yuv601(rgb).reshape(-1)
        return whole.data.cast("B")


def _yuv601(rgb: np.ndarray) -> np.ndarray:
    """Convert an RGB frame to 4:2:0 planes, one below the other, uint8 (H * 3 / 2, W)."""
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
        format="yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG
    )
    return frame.to_ndarray()
