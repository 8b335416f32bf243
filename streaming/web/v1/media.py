"""Still pictures of a film: one of its beginning, and a sheet with frames of all of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any

THUMBNAIL_WIDTH = 480  # pixels, at most
TILE_WIDTH = 160
COLUMNS, ROWS = 5, 5
CACHE_BYTES = 32 << 20


def thumbnail(path: Path) -> bytes:
    """The first frame of a film as WebP.

    Raises:
        OSError, ValueError: the file cannot be decoded.
    """
    return _webp(_frames(path, 1)[0], THUMBNAIL_WIDTH)


def spritesheet(path: Path) -> bytes:
    """Up to 25 frames at even distances as WebP: rows of five, from left to right.

    Raises:
        OSError, ValueError: the file cannot be decoded.
    """
    from PIL import Image

    frames = _frames(path, COLUMNS * ROWS)
    width = min(TILE_WIDTH, frames[0].width)
    height = max(1, round(frames[0].height * width / frames[0].width))
    rows = -(-len(frames) // COLUMNS)
    sheet = Image.new("RGB", (min(COLUMNS, len(frames)) * width, rows * height))
    for number, frame in enumerate(frames):
        place = (number % COLUMNS * width, number // COLUMNS * height)
        sheet.paste(frame.resize((width, height)), place)
    return _webp(sheet, sheet.width)


class MediaCache:
    """Keeps the newest pictures, up to `CACHE_BYTES`; makes one at a time."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[tuple[object, ...], bytes] = OrderedDict()

    def get(self, make: Callable[[Path], bytes], path: Path) -> bytes:
        """The picture of a file; raises as `make`."""
        found = path.stat()
        key = (make.__name__, str(path), found.st_mtime_ns, found.st_size)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make(path)
            self._kept.move_to_end(key)
            while sum(map(len, self._kept.values())) > CACHE_BYTES and len(self._kept) > 1:
                self._kept.popitem(last=False)
            return self._kept[key]


def _frames(path: Path, count: int) -> list[Any]:
    """Frames at even distances, each the first one after its time that can be decoded alone."""
    import av

    with av.open(f"file:{path}") as container:
        stream = container.streams.video[0]
        total, rate = container.duration or 0, stream.average_rate or 1
        count = max(1, min(count, int(total / av.time_base * rate)))
        frames = []
        for number in range(count):
            container.seek(total * number // count)
            if (frame := next(container.decode(stream), None)) is not None:
                frames.append(frame.to_image())
    if not frames:
        raise ValueError("the film has no frames")
    return frames


def _webp(image: Any, width: int) -> bytes:
    if image.width > width:
        image = image.resize((width, max(1, round(image.height * width / image.width))))
    data = BytesIO()
    image.save(data, "webp", quality=80)
    return data.getvalue()
