"""The pictures that clients cut a server's streams to, next to their recordings."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sana_stream._files import atomic_write, read_bounded
from sana_stream._text import os_reason, safe_text
from sana_stream.streaming.run.recordings import CUT_PICTURE_SUFFIX
from sana_stream.streaming.stream_name import STREAM_NAME, stream_name

logger = logging.getLogger(__name__)
PICTURE_NAME = rf"^{STREAM_NAME}\.[0-9a-f]{{16}}" + re.escape(CUT_PICTURE_SUFFIX) + "$"
_BYTES = 64 << 20  # of one picture
_KEPT = 32  # newest of a stream; older ones are in the checkpoint


class CutPictures:
    """One file for each picture of a stream that has not ended, named by its content.

    A file that cannot be written or read is logged; the stream continues.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, stream_id: int, image: bytes) -> str | None:
        """Keep a picture; returns the name of its file, or None where it cannot be written."""
        digest = hashlib.blake2b(image, digest_size=8).hexdigest()
        path = self._folder / stream_name(stream_id, f".{digest}{CUT_PICTURE_SUFFIX}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                atomic_write(path, image)
        except OSError as error:
            logger.warning(
                "%s: %s; a resumed stream does not cut to this picture",
                safe_text(path),
                os_reason(error),
            )
            return None
        return path.name

    def read(self, name: str) -> bytes | None:
        """The content of a picture; None where it cannot be read."""
        try:
            return read_bounded(self._folder / name, _BYTES)
        except (OSError, ValueError) as error:
            reason = os_reason(error)
            logger.warning("%s: %s; the video does not cut to it", safe_text(name), reason)
            return None

    def keep(self, stream_id: int, names: Sequence[str]) -> None:
        """Remove the pictures of a stream except the newest of those named, which come last."""
        kept = set(list(dict.fromkeys(reversed(names)))[:_KEPT])
        with suppress(OSError):
            for path in self._folder.glob(stream_name(stream_id, f".*{CUT_PICTURE_SUFFIX}")):
                if re.fullmatch(PICTURE_NAME, path.name) and path.name not in kept:
                    path.unlink(missing_ok=True)
