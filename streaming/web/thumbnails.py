"""Small pictures of a stream's blocks, as JPEG, of a bounded number."""

from __future__ import annotations

import secrets
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    import numpy as np

KEPT = 240
HEIGHT = 90  # pixels
_QUALITY = 72


class Thumbnails:
    """The pictures of a stream's blocks, each found by the first frame of its block.

    At most 240 are kept. When there are more, every second one of the older half is dropped, so
    that the newest minutes stay complete and the rest becomes sparser with age.

    Attributes:
        version: differs between streams that have the same address, for caches.
    """

    def __init__(self) -> None:
        self.version = secrets.token_hex(4)
        self._lock = Lock()
        self._pictures: dict[int, bytes] = {}  # ascending

    def add(self, start: int, frames: np.ndarray) -> None:
        """Keep the picture in the middle of a block.

        Args:
            start: the block's first frame in the video.
            frames: of the block, uint8 (frames, height, width, 3).
        """
        if not len(frames):
            return
        picture = _encode(frames[len(frames) // 2])
        with self._lock:
            self._pictures[start] = picture
            if len(self._pictures) > KEPT:
                for each in list(self._pictures)[1 : KEPT // 2 : 2]:
                    del self._pictures[each]

    def find(self, start: int) -> bytes | None:
        """The JPEG file of the block that starts at a frame; None where it is not kept."""
        with self._lock:
            return self._pictures.get(start)

    @property
    def starts(self) -> tuple[int, ...]:
        """The first frames of the blocks whose pictures are kept, ascending."""
        with self._lock:
            return tuple(self._pictures)

    def clear(self) -> None:
        """Free the pictures of a stream that has ended."""
        with self._lock:
            self._pictures.clear()


def _encode(frame: np.ndarray) -> bytes:
    step = max(1, frame.shape[0] // (2 * HEIGHT))  # most of the pixels need not be read
    image = Image.fromarray(frame[::step, ::step].copy())
    width = max(1, round(image.width * HEIGHT / image.height))
    if image.height > HEIGHT:
        image = image.resize((width, HEIGHT), Image.Resampling.BILINEAR)
    file = BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
