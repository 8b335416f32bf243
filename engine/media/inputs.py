"""Image and video arguments of the Python interface: paths, arrays, tensors, Pillow images."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sana_stream._files import require_regular_file
from sana_stream._text import safe_text
from sana_stream.errors import ConfigError

from .resize import cover

HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1"}
AVIF_BRANDS = {b"avif", b"avis"}
_STILL = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM", b"8BPS")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def open_given(path: str | Path) -> BinaryIO:
    """Open a file for reading; its name is never interpreted as a URL or an option.

    Raises:
        ConfigError: missing, unreadable, empty, or not a regular file.
    """
    name = safe_text(path)
    try:
        if not require_regular_file(Path(path)):
            raise ConfigError(f"{name} is empty")
        return open(path, "rb")
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        if _ADDRESS.match(os.fspath(path)) and isinstance(error, FileNotFoundError):
            raise ConfigError(f"{name} is an address: download it and give the file") from error
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{name} cannot be read: {reason}") from error


def brands(file: BinaryIO) -> set[bytes]:
    """Brands of an ISO base media file (MP4, HEIC, AVIF; ISO/IEC 14496-12); empty for others."""
    head = _head(file)
    if head[4:8] != b"ftyp":
        return set()
    size = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12]} | {head[i : i + 4] for i in range(16, size - 3, 4)}


def coding(file: BinaryIO) -> tuple[int, int]:
    """Read transfer characteristics and primaries (ITU-T H.273) of a PNG, HEIC or AVIF.

    Returns 2 and 2 (unspecified) if the file has none, or an SDR picture next to the HDR one.
    """
    head = _head(file, 1 << 16)
    place = head.find(b"cICP")
    if head.startswith(b"\x89PNG") and 0 <= place < len(head) - 6:
        return head[place + 5], head[place + 4]
    place = head.find(b"colrnclx") + 8
    if head[4:8] != b"ftyp" or place < 8 or b"tmap" in head:
        return 2, 2
    primaries, transfer = head[place : place + 2], head[place + 2 : place + 4]
    return int.from_bytes(transfer, "big"), int.from_bytes(primaries, "big")


def is_picture(file: BinaryIO) -> bool:
    """Whether a file's format is one of still images only."""
    head = _head(file)
    if head.startswith(b"\x89PNG"):
        return b"acTL" not in head  # an animated PNG is a clip
    riff = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return riff or head.startswith(_STILL) or bool(brands(file) & (HEIF_BRANDS | AVIF_BRANDS))


def _head(file: BinaryIO, size: int = 1024) -> bytes:
    file.seek(0)
    head = file.read(size)
    file.seek(0)
    return head


Picture = str | Path | Image.Image | np.ndarray | Tensor
"""A file, a Pillow image, or pixels uint8 (H, W, 3)."""


class GivenClip(Protocol):
    """A clip that yields its frames in order."""

    @property
    def frames(self) -> int:
        """Number of frames."""
        ...

    def pictures(self, height: int, width: int, first: int = 0) -> Iterator[np.ndarray]:
        """Yield the frames from number `first`, scaled to cover a size, uint8 (H, W, 3)."""
        ...


Video = str | Path | GivenClip | np.ndarray | Tensor
"""A file, an inspected clip, or pixels uint8 (T, H, W, 3)."""


@dataclass(frozen=True, slots=True)
class ArrayClip:
    """Pixels in memory, uint8 (T, H, W, 3)."""

    pixels: np.ndarray

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.pixels)

    def pictures(self, height: int, width: int, first: int = 0) -> Iterator[np.ndarray]:
        """Yield frames as `GivenClip.pictures`."""
        for frame in self.pixels[first:]:
            yield cover(frame[None], height, width)[0]


def as_picture(image: Picture) -> np.ndarray:
    """Convert an image argument to pixels uint8 (H, W, 3).

    Files and Pillow images are converted as viewers display them: upright by their EXIF
    orientation, in sRGB by their colour profile, transparent parts on white.

    Raises:
        ConfigError: a file that cannot be read, or another type, shape or dtype.
    """
    if isinstance(image, str | os.PathLike):
        from .image_file import read_image

        return read_image(os.fspath(image), _ignore_note)
    if isinstance(image, Image.Image):
        from .image_file import read_pillow

        return read_pillow(image, _ignore_note)
    return _pixels(image, "image", "(H, W, 3)")


def as_video(video: Video, fps: Fraction) -> GivenClip:
    """Convert a video argument to a clip; a file's frames are resampled to `fps`.

    Raises:
        ConfigError: a file that cannot be read, or another type, shape or dtype.
    """
    if isinstance(video, str | os.PathLike):
        from .clip import inspect_clip

        return inspect_clip(os.fspath(video), fps, _ignore_note)
    if hasattr(video, "pictures"):
        return video  # type: ignore[return-value]
    return ArrayClip(_pixels(video, "video", "(T, H, W, 3)"))


def _pixels(value: Any, name: str, shape: str) -> np.ndarray:
    """Check an array or tensor of pixels; ConfigError for other types, shapes or dtypes."""
    if isinstance(value, Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        pixels = value.detach().cpu().numpy() if value.dtype == torch.uint8 else None
    elif isinstance(value, np.ndarray):
        dtype = str(value.dtype)
        pixels = np.asarray(value) if value.dtype == np.uint8 else None
    else:
        raise ConfigError(
            f"the {name} is {safe_text(type(value).__name__)}; give uint8 {shape}, the path of"
            f" a file{', or a Pillow image' if name == 'image' else ''}"
        )
    if pixels is None or pixels.ndim != shape.count(",") + 1 or pixels.shape[-1] != 3:
        raise ConfigError(
            f"the {name} has shape {tuple(value.shape)} and dtype {dtype}; give uint8 {shape}"
        )
    if not pixels.size:
        raise ConfigError(f"the {name} has shape {pixels.shape}, no pixel; give uint8 {shape}")
    return pixels


def _ignore_note(message: str) -> None:
    """Drop notes: the Python interface reports errors only."""
