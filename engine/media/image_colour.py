"""Conversion of images of any mode to upright sRGB, as viewers display them."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from math import ceil, sqrt

import numpy as np
from PIL import Image

from sana_stream.errors import ConfigError

Note = Callable[[str], None]

BACKGROUND = (255, 255, 255)  # under transparent parts: white, as in most viewers
WORKING_PIXELS = 32_000_000  # larger pictures are reduced before conversion
PROFILE_BYTES = 8 << 20
ORIENTATION = 0x0112  # the EXIF tag
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def to_srgb(image: Image.Image, note: Note) -> np.ndarray:
    """Convert an image to sRGB pixels uint8 (H, W, 3), with EXIF orientation and ICC profile.

    Args:
        note: called with messages about lossy conversions.

    Raises:
        ConfigError: values that are not colours.
        Exception: whatever Pillow raises for a damaged file.
    """
    image.load()
    profile, turn = image.info.get("icc_profile"), TRANSPOSITIONS.get(_orientation(image))
    image = _reduced(_with_channels(image))
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colour = _rgb(
        image.convert(image.mode.removesuffix("A")) if alpha is not None else image, profile, note
    )
    if alpha is not None and alpha.getextrema()[0] != 255:
        note("its transparent parts are shown on white")
        shown = Image.new("RGB", colour.size, BACKGROUND)
        shown.paste(colour, mask=alpha)
        colour = shown
    return np.array(colour if turn is None else colour.transpose(turn))


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF data, which viewers ignore
        return 1
    return value if isinstance(value, int) else 1


def _with_channels(image: Image.Image) -> Image.Image:
    """Convert to 8 bits a channel, without a palette, with transparency as a channel."""
    if image.mode in ("RGBa", "La"):
        return image.convert(image.mode.upper())
    if image.mode == "I;16" and isinstance(clear := image.info.get("transparency"), int):
        values = np.asarray(image)
        alpha = np.where(values == clear, 0, 255).astype(np.uint8)
        return Image.merge("LA", (Image.fromarray(_eight_bits(values)), Image.fromarray(alpha)))
    if image.has_transparency_data and image.mode not in ("LA", "RGBA", "I;16"):
        return image.convert("LA" if image.mode == "L" else "RGBA")
    if image.mode in ("P", "1"):
        return image.convert("RGB" if image.mode == "P" else "L")
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_eight_bits(np.asarray(image)))
    return image


def _eight_bits(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "f":
        if not (values.min() >= 0 and values.max() <= 1):
            raise ConfigError("the picture has floating-point values outside 0 to 1: use PNG")
        return (values * 255 + 0.5).astype(np.uint8)
    if values.min() < 0 or values.max() > 65535:
        raise ConfigError("the picture has values of more than 16 bits: save it as PNG")
    return (values >> 8).astype(np.uint8)


def _reduced(image: Image.Image) -> Image.Image:
    width, height = image.size
    factor = ceil(sqrt(width * height / WORKING_PIXELS))
    return image.reduce(factor) if factor > 1 else image


def _rgb(image: Image.Image, profile: bytes | None, note: Note) -> Image.Image:
    """Convert L, RGB, CMYK, LAB and other colours to sRGB."""
    if image.mode == "LAB" or profile:
        try:
            return _managed(image, profile)
        except Exception as error:
            if image.mode == "LAB":
                raise ConfigError("LAB colours cannot be read: save it as PNG") from error
            note("its colour profile cannot be used and is ignored")
    return image.convert("RGB")


def _managed(image: Image.Image, profile: bytes | None) -> Image.Image:
    from PIL import ImageCms

    if image.mode == "LAB":
        source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    else:
        assert profile
        if len(profile) > PROFILE_BYTES:
            raise ValueError("too large")
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return image.convert("RGB")
    target = ImageCms.createProfile("sRGB")
    managed = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    assert managed is not None
    return managed
