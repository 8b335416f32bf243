"""Image and video arguments of the Python interface: paths, arrays, tensors, Pillow images."""

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
from sana_stream.errors import ConfigError

from .resize import cover

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
