"""Pictures without compression: bare RGB, or YUV4MPEG2 with its own header."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from sana_stream.streaming.video_format import VideoFormat

if TYPE_CHECKING:
    from sana_stream.engine.block import Block

_LINE = b"FRAME\n"
_LONGEST = 96  # bytes of a header that ffmpeg reads, its end included


class RawMuxer:
    """Bare pictures: three bytes a pixel, row by row, frame after frame; no header at all."""

    def header(self) -> bytes:
        """Nothing; the reader must be told size and rate."""
        return b""

    def add(self, block: Block) -> memoryview:
        """The block's pictures, as they are: a copy of so much would hold the interpreter."""
        return np.ascontiguousarray(block.frames).data.cast("B")

    def trailer(self) -> bytes:
        """Nothing."""
        return b""

    def finish(self, file: BinaryIO) -> None:
        """Nothing is left to do."""


class Y4mMuxer(RawMuxer):
    """YUV4MPEG2: one line that describes the stream, then planes in 4:2:0.

    The format cannot name its colour matrix, so it is BT.601, which readers take for granted.
    `run` is the id of the run, for the header.
    """

    def __init__(self, video: VideoFormat, run: str | None = None) -> None:
        rate = video.rate
        self._planes = video.width * video.height * 3 // 2  # bytes a picture
        line = (
            f"YUV4MPEG2 W{video.width} H{video.height} F{rate.numerator}:{rate.denominator} "
            "Ip A1:1 C420mpeg2"
        )
        known = " XCOLORRANGE=LIMITED"  # which readers take for granted
        mark = "" if run is None else f" XRUN={run}"
        more = known + mark if len(line + known + mark) < _LONGEST - 1 else mark
        self._header = f"{line}{more}\n".encode()

    def header(self) -> bytes:
        """Size, rate and layout of the planes."""
        return self._header

    def add(self, block: Block) -> memoryview:
        """The block's pictures, each behind its own line."""
        whole = np.empty((len(block.frames), len(_LINE) + self._planes), np.uint8)
        for row, picture in zip(whole, block.frames, strict=True):
            row[: len(_LINE)] = np.frombuffer(_LINE, np.uint8)
            row[len(_LINE) :] = _yuv601(picture).reshape(-1)
        return whole.data.cast("B")


def _yuv601(picture: np.ndarray) -> np.ndarray:
    """One RGB picture as 4:2:0 planes, one below the other, uint8 (H * 3 / 2, W)."""
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
        format="yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG
    )
    return frame.to_ndarray()
