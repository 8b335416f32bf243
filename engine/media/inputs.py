"""Pictures and clips as Python programs have them: paths, arrays, tensors, images of Pillow."""

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
    """Open a file for reading; its name is never taken for an address or an option.

    Raises:
        ConfigError: missing, unreadable, empty, or no regular file.
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
    """The kinds that a file of boxes (MP4, HEIC, AVIF) says it is of; empty for other files."""
    head = _head(file)
    if head[4:8] != b"ftyp":
        return set()
    size = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12]} | {head[i : i + 4] for i in range(16, size - 3, 4)}


def coding(file: BinaryIO) -> tuple[int, int]:
    """Transfer characteristics and primaries (ITU-T H.273) that a PNG, HEIC or AVIF says of itself;
    2 and 2 where it says nothing, or has an SDR picture beside the HDR one."""
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
    """Whether a file is of a kind that has no clips."""
    head = _head(file)
    if head.startswith(b"\x89PNG"):
        return b"acTL" not in head  # an animation is a clip
    riff = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return riff or head.startswith(_STILL) or bool(brands(file) & (HEIF_BRANDS | AVIF_BRANDS))


def _head(file: BinaryIO, size: int = 1024) -> bytes:
    file.seek(0)
    head = file.read(size)
    file.seek(0)
    return head


Picture = str | Path | Image.Image | np.ndarray | Tensor
"""A file, an image of Pillow, or pixels uint8 (H, W, 3)."""


class GivenClip(Protocol):
    """A clip whose pictures are taken one after the other."""

    @property
    def frames(self) -> int:
        """How many pictures it has."""
        ...

    def pictures(self, height: int, width: int, first: int = 0) -> Iterator[np.ndarray]:
        """Those from number `first` on, each made to cover a size, uint8 (H, W, 3)."""
        ...


Video = str | Path | GivenClip | np.ndarray | Tensor
"""A file, a clip that was looked at, or pixels uint8 (T, H, W, 3)."""


@dataclass(frozen=True, slots=True)
class ArrayClip:
    """Pixels in memory, uint8 (T, H, W, 3)."""

    pixels: np.ndarray

    @property
    def frames(self) -> int:
        """How many pictures it has."""
        return len(self.pixels)

    def pictures(self, height: int, width: int, first: int = 0) -> Iterator[np.ndarray]:
        """As `GivenClip.pictures`."""
        for picture in self.pixels[first:]:
            yield cover(picture[None], height, width)[0]


def as_picture(image: Picture) -> np.ndarray:
    """Pixels uint8 (H, W, 3) of a picture.

    Files and images of Pillow are taken as viewers show them: upright by their EXIF orientation,
    in sRGB by their colour profile, transparent parts on white.

    Raises:
        ConfigError: a file that cannot be read, or anything else that is no picture.
    """
    if isinstance(image, str | os.PathLike):
        from .image_file import read_image

        return read_image(os.fspath(image), _silent)
    if isinstance(image, Image.Image):
        from .image_file import read_pillow

        return read_pillow(image, _silent)
    return _pixels(image, "image", "(H, W, 3)")


def as_video(video: Video, fps: Fraction) -> GivenClip:
    """A clip of which nothing but its length has been read; a file's pictures come at `fps`.

    Raises:
        ConfigError: a file that cannot be read, or anything else that is no clip.
    """
    if isinstance(video, str | os.PathLike):
        from .clip import inspect_clip

        return inspect_clip(os.fspath(video), fps, _silent)
    if hasattr(video, "pictures"):
        return video  # type: ignore[return-value]
    return ArrayClip(_pixels(video, "video", "(T, H, W, 3)"))


def _pixels(value: Any, what: str, shape: str) -> np.ndarray:
    """Pixels of an array or a tensor; ConfigError for what is none, or of other values."""
    if isinstance(value, Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        pixels = value.detach().cpu().numpy() if value.dtype == torch.uint8 else None
    elif isinstance(value, np.ndarray):
        dtype = str(value.dtype)
        pixels = np.asarray(value) if value.dtype == np.uint8 else None
    else:
        raise ConfigError(
            f"the {what} is {safe_text(type(value).__name__)}; give uint8 {shape}, the path of"
            f" a file{', or an image of Pillow' if what == 'image' else ''}"
        )
    if pixels is None or pixels.ndim != shape.count(",") + 1 or pixels.shape[-1] != 3:
        raise ConfigError(
            f"the {what} has shape {tuple(value.shape)} and dtype {dtype}; give uint8 {shape}"
        )
    if not pixels.size:
        raise ConfigError(f"the {what} has shape {pixels.shape}, no pixel; give uint8 {shape}")
    return pixels


def _silent(said: str) -> None:
    """Python programs are told by errors alone."""
