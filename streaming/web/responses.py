"""What was recorded so far, of a file that grows while it is sent."""

from __future__ import annotations

import json
import mimetypes
import os
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import Send

from sana_stream._files import require_regular_file
from sana_stream._text import safe_text

_MESSAGE = 400  # characters


class JsonResponse(JSONResponse):
    """JSON in ASCII: names of files and words of a command line may hold halves of characters."""

    def render(self, content: object) -> bytes:
        """The content as JSON."""
        return json.dumps(content, separators=(",", ":")).encode("ascii")


class StreamedResponse(StreamingResponse):
    """Ends its generator with itself: one that is left alone ends when the collector finds it."""

    async def stream_response(self, send: Send) -> None:
        """Send what the generator gives."""
        async with aclosing(self.body_iterator):  # type: ignore[type-var] - it is a generator
            await super().stream_response(send)


async def answer_error(request: Request, error: Exception) -> Response:
    """Why a request was refused, on one line."""
    assert isinstance(error, HTTPException)
    return PlainTextResponse(
        safe_text(error.detail, _MESSAGE) + "\n", error.status_code, error.headers
    )


_CHUNK = 1 << 18  # bytes
_RANGE = re.compile(r"bytes\s*=\s*([0-9]{0,19})\s*-\s*([0-9]{0,19})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RecordedPart:
    """A recording as it is at one moment.

    Its size is taken once: what is written meanwhile would be more than was announced. Its first
    bytes are read before that, for they change when the recording is completed and then need what
    is written at its end. It is not held open: what is removed is gone, whoever still fetches it.
    """

    path: Path
    size: int
    head: bytes
    file: tuple[int, int]  # device and number: another file may get the name
    tag: str | None  # of a recording that is complete

    @classmethod
    def at(cls, path: Path, complete: bool) -> Self:
        """The recording in a file; OSError or ValueError when there is none."""
        require_regular_file(path)
        with path.open("rb") as file:
            head = b"" if complete else file.read(_CHUNK)
            found = os.fstat(file.fileno())
        tag = f'"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}"' if complete else None
        return cls(path, found.st_size, head, (found.st_dev, found.st_ino), tag)

    def part(self, begin: int, end: int) -> bytes:
        """Some of it, as far as it is still there; OSError when it is not."""
        if begin < len(self.head):
            return self.head[begin:end]
        with self.path.open("rb") as file:
            found = os.fstat(file.fileno())
            if (found.st_dev, found.st_ino) != self.file:
                raise FileNotFoundError(2, "the recording was removed")
            file.seek(begin)
            return file.read(min(end - begin, _CHUNK))


class GrowingFileResponse(StreamedResponse):
    """A recording as it is now, to be kept as a file, or a part of it.

    OSError or ValueError when there is none. `asked` and `unless_changed` are the headers `Range`
    and `If-Range`: of several parts in one request all is sent. With `bare`, nothing is sent but
    the headers. HTTPException for a part that is not there.
    """

    def __init__(
        self,
        path: Path,
        complete: bool = False,
        asked: str | None = None,
        unless_changed: str | None = None,
        bare: bool = False,
    ) -> None:
        recorded = RecordedPart.at(path, complete)
        part = None
        if asked is not None and (unless_changed is None or unless_changed == recorded.tag):
            part = _asked_part(asked, recorded.size)
        begin, end = part or (0, recorded.size)
        headers = {
            "accept-ranges": "bytes",
            "content-length": str(end - begin),
            "content-disposition": f"attachment; filename*=utf-8''{quote(os.fsencode(path.name))}",
        }
        if recorded.tag is not None:
            headers["etag"] = recorded.tag
        if part is not None:
            headers["content-range"] = f"bytes {begin}-{end - 1}/{recorded.size}"
        super().__init__(
            _content(recorded, begin, begin if bare else end),
            200 if part is None else 206,
            headers,
            mimetypes.guess_type(path.name)[0] or "application/octet-stream",
        )


def _asked_part(asked: str, size: int) -> tuple[int, int] | None:
    """Where the part begins and ends that is asked for; None for what is not one part."""
    match = _RANGE.fullmatch(asked.strip())
    if match is None or match[1] == match[2] == "":
        return None
    if not match[1]:
        begin, end = max(0, size - int(match[2])), size
    else:
        begin, end = int(match[1]), size if not match[2] else min(size, int(match[2]) + 1)
        if match[2] and int(match[2]) < begin:
            return None
    if begin >= end:
        raise HTTPException(416, f"{size} bytes are recorded", {"Content-Range": f"bytes */{size}"})
    return begin, end


async def _content(recorded: RecordedPart, begin: int, end: int) -> AsyncIterator[bytes]:
    while begin < end:
        part = await run_in_threadpool(recorded.part, begin, end)
        if not part:
            raise EOFError("the recording has become shorter")
        yield part
        begin += len(part)
