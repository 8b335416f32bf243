"""What was recorded so far, of a file that grows while it is sent."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from starlette.responses import StreamingResponse

_CHUNK = 1 << 18  # bytes


class SoFarResponse(StreamingResponse):
    """A recording as it is now, to be kept as a file; OSError when there is none.

    Its size is taken once: what is written meanwhile would be more than was announced. Its first
    bytes are read before that, for they change when the recording is completed and then need what
    is written at its end.
    """

    def __init__(self, path: Path) -> None:
        file = path.open("rb")
        head = file.read(_CHUNK)
        size = path.stat().st_size
        super().__init__(
            _content(file, head, size),
            media_type=mimetypes.guess_type(path.name)[0],
            headers={
                "content-length": str(size),
                "content-disposition": f"attachment; filename*=utf-8''{quote(path.name)}",
            },
        )


def _content(file: BinaryIO, head: bytes, size: int) -> Iterator[bytes]:
    with file:
        yield head[:size]
        left = size - len(head)
        while left > 0 and (part := file.read(min(left, _CHUNK))):
            yield part
            left -= len(part)
