"""Pictures without compression: bare RGB, or YUV4MPEG2 with its own header."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO

import av
from av.video.reformatter import ColorRange, Colorspace

from .format import VideoFormat

if TYPE_CHECKING:
    import numpy as np

    from ..engine.block import Block


class RawMuxer:
    """Bare pictures: three bytes a pixel, row by row, frame after frame; no header at all."""

    def header(self) -> bytes:
        """Nothing; the reader must be told size and rate."""
        return b""

    def add(self, block: Block) -> bytes:
        """The block's pictures."""
        return block.frames.tobytes()

    def trailer(self) -> bytes:
        """Nothing."""
        return b""

    def finish(self, file: BinaryIO) -> None:
        """Nothing is left to do."""


class Y4mMuxer(RawMuxer):
    """YUV4MPEG2: one line that describes the stream, then planes in 4:2:0.

    The format cannot name its colour matrix, so it is BT.601, which readers take for granted.
    """

    def __init__(self, video: VideoFormat) -> None:
        rate = Fraction(video.fps)
        self._header = (
            f"YUV4MPEG2 W{video.width} H{video.height} F{rate.numerator}:{rate.denominator} "
            "Ip A1:1 C420mpeg2 XCOLORRANGE=LIMITED\n"
        ).encode()

    def header(self) -> bytes:
        """Size, rate and layout of the planes."""
        return self._header

    def add(self, block: Block) -> bytes:
        """The block's pictures, each behind its own line."""
        return b"".join(b"FRAME\n" + _planes(picture) for picture in block.frames)


def _planes(picture: np.ndarray) -> bytes:
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
        format="yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG
    )
    return frame.to_ndarray().tobytes()
