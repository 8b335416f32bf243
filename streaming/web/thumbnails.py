"""Small pictures of a stream's blocks, as JPEG, of a bounded number."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from PIL import Image

from sana_stream._text import safe_text
from sana_stream.streaming.containers.mp4_blocks import SUFFIXES, stored_blocks

from .film_pictures import block_frame

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)
KEPT = 240
HEIGHT = 90  # pixels
_QUALITY = 72


class Thumbnails:
    """The pictures of a stream's blocks, each found by the first frame of its block.

    At most 240 are kept. When there are more, every second one of the older half is dropped, so
    that the newest minutes stay complete and the rest becomes sparser with age. Methods may be
    called from any thread.

    Attributes:
        version: differs between streams that have the same address, for caches.
    """

    def __init__(self) -> None:
        self.version = secrets.token_hex(4)
        self._lock = Lock()
        self._decoding = Lock()
        self._pictures: dict[int, bytes | Callable[[], np.ndarray]] = {}  # ascending

    def add(self, start: int, frames: np.ndarray) -> None:
        """Keep the picture in the middle of a block.

        Args:
            start: the block's first frame in the video.
            frames: of the block, uint8 (frames, height, width, 3).
        """
        if not len(frames):
            return
        self._keep(start, _encode(frames[len(frames) // 2]))

    def add_earlier(self, recording: Path, frames: int) -> None:
        """Keep the pictures of the blocks that a recording has, before any further block.

        A picture is decoded when it is asked for. There are none of a file that is not MP4.

        Args:
            recording: the video file, finished or growing.
            frames: of the video, before which the blocks are.
        """
        if recording.suffix.lower() not in SUFFIXES:
            return
        try:
            with recording.open("rb") as file:
                for block in stored_blocks(file, frames):
                    self._keep(block.frame, partial(block_frame, recording, block))
        except (OSError, ValueError) as error:
            logger.debug("%s: %s", safe_text(recording), error)

    def _keep(self, start: int, picture: bytes | Callable[[], np.ndarray]) -> None:
        with self._lock:
            self._pictures[start] = picture
            if len(self._pictures) > KEPT:
                for each in list(self._pictures)[1 : KEPT // 2 : 2]:
                    del self._pictures[each]

    def find(self, start: int) -> bytes | None:
        """The JPEG file of the block that starts at a frame; None where it is not kept."""
        with self._lock:
            found = self._pictures.get(start)
        return found if found is None or isinstance(found, bytes) else self._decode(start)

    def _decode(self, start: int) -> bytes | None:
        """The picture of a block in the recording, which is kept from then on."""
        with self._decoding:  # one at a time: they wait for each other, not for the stream
            with self._lock:
                found = self._pictures.get(start)
            if found is None or isinstance(found, bytes):  # by another thread
                return found
            try:
                picture = _encode(found())
            except (OSError, ValueError) as error:  # the recording was removed
                logger.debug("the block at frame %d cannot be decoded: %s", start, error)
                picture = None
            with self._lock:
                if start not in self._pictures:
                    return picture
                if picture is None:
                    del self._pictures[start]
                else:
                    self._pictures[start] = picture
            return picture

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
