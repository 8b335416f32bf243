"""A decoded frame as a viewer shows it: upright, of square pixels, in SDR."""

from __future__ import annotations

import struct

import numpy as np
from av.video.frame import VideoFrame

from .picture import cover, fit, to_pixels
from .video_colour import is_hdr, to_rgb, tone_mapped


def shown_size(frame: VideoFrame, pixel_aspect: float) -> tuple[int, int]:
    """Height and width that a viewer shows a frame in."""
    height, width = frame.height, max(1, round(frame.width * pixel_aspect))
    return (width, height) if _matrix(frame)[0] else (height, width)


def shown(frame: VideoFrame, pixel_aspect: float, height: int, width: int) -> np.ndarray:
    """A frame made to cover a size, uint8 (height, width, 3).

    Args:
        pixel_aspect: width of a stored pixel by its height.

    Raises:
        ConfigError: colours that cannot be converted.
    """
    transposed, across, down = _matrix(frame)
    pixels = to_rgb(frame)
    if transposed:
        pixels, pixel_aspect = pixels.swapaxes(0, 1), 1 / pixel_aspect
    pixels = pixels[::down, ::across]
    if not is_hdr(frame):
        return np.ascontiguousarray(cover(pixels[None], height, width, pixel_aspect)[0])
    signal = fit(pixels, height, width, pixel_aspect) / 65535
    sdr = tone_mapped(signal, int(frame.color_trc), int(frame.color_primaries))
    return to_pixels(sdr * 255)


def _matrix(frame: VideoFrame) -> tuple[bool, int, int]:
    """How its display matrix turns a frame, to the nearest right angle: whether rows become
    columns, and then the steps (1 or -1) through columns and through rows."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None or data.buffer_size != 36:
        return False, 1, 1
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, -1 if a < 0 else 1, -1 if d < 0 else 1
    return True, -1 if c < 0 else 1, -1 if b < 0 else 1
