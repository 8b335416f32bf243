"""Pictures and clips as Python programs have them: paths, arrays, tensors, images of Pillow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sana_stream._text import safe_text

from ..models.errors import ConfigError
from .picture import cover

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
        from .clip import look_at_clip

        return look_at_clip(os.fspath(video), fps, _silent)
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
