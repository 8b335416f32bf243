"""Still pictures of film files, as JPEG or WebP; `FilmPictures` keeps the newest in memory."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from sana_stream.streaming.containers.mp4_blocks import StoredBlock, read_block
from sana_stream.streaming.containers.probe import open_video

from .file_cache import FileCache

if TYPE_CHECKING:
    import numpy as np
    from av.container import InputContainer
    from PIL.Image import Image

POSTER_HEIGHT = 180  # pixels, at most
POSTER_PLACE = Fraction(1, 3)  # of the film
THUMBNAIL_WIDTH = 480
TILE_WIDTH = 160
COLUMNS, ROWS = 5, 5
CACHE_BYTES = 32 << 20
_QUALITY = 80
_TIME_BASE = 1_000_000  # of a duration in libav


def poster(path: Path) -> bytes:
    """A frame after a third of a film as JPEG, at most 180 pixels high; raises as `open_video`."""
    image = _frame(path, POSTER_PLACE)
    return _encode(_reduced(image, height=POSTER_HEIGHT), "jpeg")


def thumbnail(path: Path) -> bytes:
    """The first frame of a film as WebP, at most 480 pixels wide; raises as `open_video`."""
    image = _frame(path, Fraction(0))
    return _encode(_reduced(image, width=THUMBNAIL_WIDTH), "webp")


def spritesheet(path: Path) -> bytes:
    """Up to 25 frames at even distances as WebP: rows of five, from left to right.

    A frame is at most 160 pixels wide. Raises as `open_video`.
    """
    import PIL.Image

    frames = [_reduced(frame, width=TILE_WIDTH) for frame in _frames(path, COLUMNS * ROWS)]
    width, height = frames[0].size
    rows = -(-len(frames) // COLUMNS)
    sheet = PIL.Image.new("RGB", (min(COLUMNS, len(frames)) * width, rows * height))
    for number, frame in enumerate(frames):
        sheet.paste(frame, (number % COLUMNS * width, number // COLUMNS * height))
    return _encode(sheet, "webp")


def block_frame(path: Path, block: StoredBlock) -> np.ndarray:
    """The first frame of a block in a recording, uint8 (H, W, 3).

    Raises:
        OSError, ValueError: it cannot be decoded.
    """
    with path.open("rb") as file:
        data = read_block(file, block)
    with open_video(BytesIO(data), "mp4") as opened:
        if (frame := next(opened.decode(video=0), None)) is None:
            raise ValueError("no frame is in it")
        return frame.to_ndarray(format="rgb24")


class FilmPictures:
    """Keeps the pictures used last, up to `CACHE_BYTES`; decodes one film at a time."""

    def __init__(self) -> None:
        self._kept: FileCache[bytes] = FileCache(CACHE_BYTES, len)

    def get(self, path: Path, make: Callable[[Path], bytes]) -> bytes:
        """What `poster`, `thumbnail` or `spritesheet` makes of a file; raises as these."""
        return self._kept.get(path, make, make)


def _frame(path: Path, place: Fraction) -> Image:
    """The last key frame at or before a place, from 0 to 1."""
    with path.open("rb") as file, open_video(file, "mp4") as opened:
        if (frame := _frame_at(opened, place)) is None:
            raise ValueError("no frame is in it")
    return frame


def _frames(path: Path, most: int) -> list[Image]:
    """The key frames before places at even distances, one for each frame of a short film."""
    with path.open("rb") as file, open_video(file, "mp4") as opened:
        seconds = Fraction(opened.duration or 0, _TIME_BASE)
        count = max(1, min(most, int(seconds * (opened.streams.video[0].average_rate or 1))))
        frames = [_frame_at(opened, Fraction(number, count)) for number in range(count)]
    found = [frame for frame in frames if frame is not None]
    if not found:
        raise ValueError("no frame is in it")
    return found


def _frame_at(opened: InputContainer, place: Fraction) -> Image | None:
    if opened.duration:
        opened.seek(int(opened.duration * place))
    frame = next(opened.decode(video=0), None)
    return None if frame is None else frame.to_image()


def _reduced(image: Image, width: int | None = None, height: int | None = None) -> Image:
    """An image in its proportions, no wider and no higher than this."""
    scale = min(
        Fraction(1),
        Fraction(width or image.width, image.width),
        Fraction(height or image.height, image.height),
    )
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image if size == image.size else image.resize(size)


def _encode(image: Image, format_name: str) -> bytes:
    image.save(data := BytesIO(), format_name, quality=_QUALITY)
    return data.getvalue()
