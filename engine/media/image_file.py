"""Safe reading of image files, with a fixed set of decoders and limits on size."""

from __future__ import annotations

import mmap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, JpegImagePlugin, UnidentifiedImageError, features

from sana_stream._text import safe_text
from sana_stream.errors import ConfigError

from .files import AVIF_BRANDS, HEIF_BRANDS, brands, coding, is_picture, open_given
from .image_colour import to_srgb

Note = Callable[[str], None]

# Decoders that neither run anything nor open other files. TGA is excluded: it has no signature and
# would accept any file.
FORMATS = (
    "PNG", "GIF", "WEBP", "TIFF", "BMP", "DIB", "JPEG2000", "AVIF", "PPM", "QOI", "PCX", "SGI",
)  # fmt: skip
KNOWN = "PNG, JPEG, WebP, GIF, TIFF, BMP, HEIC, AVIF, JPEG 2000, PPM, TGA"
PIXELS = 100_000_000
JPEG_PIXELS = 260_000_000  # phones take 200 megapixels; large JPEGs are decoded at a fraction
DRAFT_PIXELS = 32_000_000
JPEG_SCANS = 100  # encoders write about ten; each costs as much as decoding an image


def read_image(path: str | Path, note: Note) -> np.ndarray:
    """Read an image as viewers display it: upright, in sRGB, without transparency.

    Animations and files of several pages give their first picture, clips their first frame.

    Args:
        note: called with messages about conversions.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ConfigError: it cannot be read, is damaged, truncated, too large, or not a picture.
    """
    name = safe_text(path)
    with open_given(path) as file, _reading(name):
        transfer, primaries = coding(file)
        image = open_image(file, Path(path).suffix.lower(), name)
        if image is not None:
            hdr = transfer in (16, 18) and "icc_profile" not in image.info
            pixels = to_srgb(image, lambda message: note(f"{name}: {message}"))
            return _in_sdr(pixels, transfer, primaries, name, note) if hdr else pixels
    from sana_stream.errors import UnknownClipError

    from .clip import first_frame

    try:
        return first_frame(path, note)
    except UnknownClipError as error:
        raise ConfigError(
            f"{name} cannot be read: it is not a picture ({KNOWN}), or damaged"
        ) from error


def read_image_data(data: bytes, pixels: int, note: Note) -> np.ndarray:
    """Read an image file that is in memory; as `read_image`, but a clip is refused.

    Args:
        data: the content of the file.
        pixels: the most that are decoded; large JPEGs are decoded at a fraction of their size.
        note: called with messages about conversions.

    Raises:
        ConfigError: it is damaged, truncated, too large, or not a picture.
    """
    file, name = BytesIO(data), "the picture"
    with _reading(name):
        image = open_image(file, "", name)
        if image is None:
            raise ConfigError(f"{name} is not a picture: send one of {KNOWN}")
        if image.width * image.height > pixels:
            raise _too_large(name, pixels)
        return to_srgb(image, note)


def read_pillow(image: Image.Image, note: Note) -> np.ndarray:
    """Convert an image that a program has opened or created; as `read_image`.

    Raises:
        ConfigError: its file is damaged or closed, or it is too large.
    """
    with _reading("the image"):
        return to_srgb(_within(image, "the image"), note)


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Convert every error that decoders raise for a damaged file to ConfigError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what is refused or harmless here
        try:
            yield
        except ConfigError:
            raise
        except MemoryError as error:
            raise ConfigError(f"{name} cannot be read: there is too little memory") from error
        except Exception as error:  # decoders raise about twenty types
            reason = "" if isinstance(error, UnidentifiedImageError) else f": {safe_text(error)}"
            raise ConfigError(f"{name} is damaged or truncated{reason.rstrip(': ')}") from error


def open_image(file: BinaryIO, suffix: str, name: str) -> Image.Image | None:
    """Open an image file without decoding it; `None` for a file that is not an image.

    Raises:
        ConfigError: too many pixels, or a format whose decoder is not installed.
        Exception: whatever a decoder raises for a damaged file.
    """
    kinds, head = brands(file), file.read(3)
    file.seek(0)
    if head == b"\xff\xd8\xff":
        return _open_jpeg(file, name)
    if kinds & AVIF_BRANDS:
        if not features.check("avif"):
            raise ConfigError(f"{name} is an AVIF picture: pip install 'pillow>=11.3'")
    elif kinds & HEIF_BRANDS:
        return _within(_open_heif(file, name), name)
    Image.init()  # formats that this Pillow does not have would raise KeyError
    tga = ("TGA",) if suffix in (".tga", ".targa") else ()
    formats = [each for each in (*FORMATS, *tga) if each in Image.OPEN]
    try:
        return _within(Image.open(file, formats=formats), name)
    except UnidentifiedImageError:
        if is_picture(file):
            raise  # the signature is an image's, but the content cannot be decoded
        return None
    except Image.DecompressionBombError as error:
        raise _too_large(name) from error


def _in_sdr(pixels: np.ndarray, transfer: int, primaries: int, name: str, note: Note) -> np.ndarray:
    """Convert HDR pixels to SDR, in strips to limit the memory of floats."""
    import torch

    from .clip import describe_hdr
    from .resize import to_pixels
    from .video_frame import tone_map

    note(describe_hdr(name, transfer))
    for top in range(0, len(pixels), 64):
        signal = torch.tensor(pixels[top : top + 64]).permute(2, 0, 1).float() / 255
        pixels[top : top + 64] = to_pixels(tone_map(signal, transfer, primaries) * 255)
    return pixels


def _open_jpeg(file: BinaryIO, name: str) -> Image.Image:
    # Image.open refuses pictures of 200 megapixels even if they are decoded at a fraction
    image = JpegImagePlugin.JpegImageFile(file)
    width, height = image.size
    if width * height > JPEG_PIXELS or _scans(file) > JPEG_SCANS:
        raise _too_large(name, JPEG_PIXELS)
    fraction = next(n for n in (1, 2, 4, 8) if width * height <= n * n * DRAFT_PIXELS)
    if fraction > 1:
        image.draft(None, (width // fraction, height // fraction))
    return image


def _scans(file: BinaryIO) -> int:
    """Count the scans of a JPEG, up to just above the limit."""
    if isinstance(file, BytesIO):
        return _count_scans(file.getvalue())
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _count_scans(data)


def _count_scans(data: bytes | mmap.mmap) -> int:
    count, place = 0, 0
    while count <= JPEG_SCANS and (place := data.find(b"\xff\xda", place) + 1):
        count += 1
    return count


def _open_heif(file: BinaryIO, name: str) -> Image.Image:
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise ConfigError(
            f"{name} is a HEIC picture: pip install 'sana-stream[heif]', or save it as PNG or JPEG"
        ) from error
    return HeifImageFile(file)


def _within(image: Image.Image, name: str) -> Image.Image:
    width, height = image.size
    if not width * height:
        raise ConfigError(f"{name} has no pixel")
    if width * height > PIXELS:
        raise _too_large(name)
    return image


def _too_large(name: str, pixels: int = PIXELS) -> ConfigError:
    return ConfigError(
        f"{name} has more pixels than the allowed {pixels / 1e6:.0f} megapixels: make it smaller"
    )
