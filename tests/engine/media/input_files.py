"""Image and video files for tests, as cameras, phones and programs write them."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

KINDS = (  # of images, by their suffixes
    "png",
    "jpg",
    "webp",
    "gif",
    "tiff",
    "bmp",
    "jp2",
    "avif",
    "ppm",
    "tga",
    "qoi",
    "pcx",
    "sgi",
)
RED, GREEN, BLUE = (200, 30, 30), (30, 180, 30), (30, 30, 200)


def scene(height: int = 64, width: int = 96) -> np.ndarray:
    """Create an image that is red left, blue right, green above: all its orientations differ."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, : width // 2], picture[:, width // 2 :] = RED, BLUE
    picture[: height // 4] = GREEN
    return picture


def mean_difference(one: np.ndarray, other: np.ndarray) -> float:
    """Compute the mean difference of two images; infinite if their shapes differ."""
    if one.shape != other.shape:
        return float("inf")
    return float(np.abs(one.astype(float) - other).mean())


def turned(picture: np.ndarray, orientation: int) -> np.ndarray:
    """Compute the pixels that a camera stores under an EXIF orientation to show `picture`."""
    stored = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.swapaxes(0, 1),
        6: picture[:, ::-1].swapaxes(0, 1),
        7: picture[::-1, ::-1].swapaxes(0, 1),
        8: picture[::-1].swapaxes(0, 1),
    }[orientation]
    return np.ascontiguousarray(stored)


def save_oriented(path: Path, orientation: int) -> None:
    """Write the scene to a file with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(turned(scene(), orientation)).save(path, exif=exif.tobytes())


def write_clip(
    path: Path | str,
    frames: np.ndarray | list[np.ndarray],
    codec: str = "libx264",
    pixels: str = "yuv420p",
    fps: int = 16,
    *,
    format: str | None = None,  # noqa: A002 - PyAV's name
    muxing: dict[str, str] | None = None,
    times: list[int] | None = None,
    **settings: Any,
) -> None:
    """Write a clip of frames uint8 (T, H, W, 3), or uint16 of HDR values; `times` in 1/1000 s.

    `settings` are the encoder's: options, sample_aspect_ratio, color_trc and so on.
    """
    with av.open(str(path), "w", format=format, options=muxing or {}) as container:
        stream: Any = container.add_stream(codec, rate=fps, options=settings.pop("options", {}))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, pixel in enumerate(frames):
            kind = {3: "rgb24", 4: "rgba"}[pixel.shape[2]]
            if pixel.dtype == np.uint16:
                kind = "rgb48le"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixel), format=kind)
            if "colorspace" in settings:
                frame = frame.reformat(format=pixels, dst_colorspace=settings["colorspace"])
                frame.colorspace = settings["colorspace"]
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def set_matrix(path: Path, matrix: tuple[int, int, int, int], size: tuple[int, int]) -> None:
    """Write a display matrix (a, b, c, d) into an MP4; `size` is its stored width and height."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8  # version 0
    a, b, c, d = (value << 16 for value in matrix)
    x = size[0] << 16 if matrix[0] < 0 else size[1] << 16 if matrix[2] < 0 else 0
    y = size[1] << 16 if matrix[3] < 0 else size[0] << 16 if matrix[1] < 0 else 0
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, x, y, 1 << 30)
    path.write_bytes(data)
