"""Responses: JSON, streams, and the recording so far of a file that grows while it is sent."""

from __future__ import annotations

import json
import mimetypes
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from sana_stream._files import require_regular_file

RETRY_SECONDS = 10  # after which a client may try again when the queue is full


class JsonResponse(JSONResponse):
    """JSON in ASCII: file names may have lone surrogates, which UTF-8 cannot encode."""

    def render(self, content: object) -> bytes:
        """The content as JSON."""
        return json.dumps(content, separators=(",", ":")).encode("ascii")


class StreamedResponse(StreamingResponse):
    """Closes its generator when it ends, instead of leaving that to the garbage collector.

    Attributes:
        on_end: is called when the response ends, in any way.
    """

    on_end: Callable[[], None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self.on_end is not None:
                self.on_end()

    async def stream_response(self, send: Send) -> None:
        """Send the parts of the generator."""
        async with aclosing(self.body_iterator):  # type: ignore[type-var] - it is a generator
            await super().stream_response(send)


def busy(why: str) -> HTTPException:
    """The error for what cannot be answered now, but may be later."""
    headers = {"Retry-After": str(RETRY_SECONDS)}
    return HTTPException(503, f"{why}; try again later", headers)


def hold(request: Request) -> None:
    """Mark the connection as one that stays open for long."""
    found = request.scope["state"].get("hold")
    if found is not None:
        found()


_CHUNK = 1 << 18  # bytes
_RANGE = re.compile(r"bytes\s*=\s*([0-9]{0,19})\s*-\s*([0-9]{0,19})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RecordedPart:
    """The state of a recording at one moment.

    Its size is read once, because the announced length must not grow. Its first bytes are read
    before, because they change when the recording is completed and then refer to what is written at
    its end. The file is not held open, so a recording that is removed frees its space at once.
    """

    path: Path
    size: int
    head: bytes
    file: tuple[int, int]  # device and inode: another file may get the name
    tag: str | None  # the ETag of a complete recording

    @classmethod
    def at(cls, path: Path, complete: bool) -> Self:
        """Read the state of a file; OSError or ValueError if it is no recording."""
        require_regular_file(path)
        with path.open("rb") as file:
            head = b"" if complete else file.read(_CHUNK)
            found = os.fstat(file.fileno())
        tag = f'"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}"' if complete else None
        return cls(path, found.st_size, head, (found.st_dev, found.st_ino), tag)

    def part(self, begin: int, end: int) -> bytes:
        """The bytes from `begin` to at most `end`; OSError if the file was removed or replaced."""
        if begin < len(self.head):
            return self.head[begin:end]
        with self.path.open("rb") as file:
            found = os.fstat(file.fileno())
            if (found.st_dev, found.st_ino) != self.file:
                raise FileNotFoundError(2, "the recording was removed")
            file.seek(begin)
            return file.read(min(end - begin, _CHUNK))


class GrowingFileResponse(StreamedResponse):
    """A recording in its current state, or a part of it, as an attachment.

    Args:
        path: the file.
        complete: whether the recording has ended; it gets an ETag then.
        ranges: the header `Range`. If it has several ranges, the whole recording is sent.
        if_range: the header `If-Range`.
        headers_only: send no body.

    Raises:
        OSError, ValueError: there is no recording.
        HTTPException: the range is not in the recording.
    """

    def __init__(
        self,
        path: Path,
        complete: bool = False,
        ranges: str | None = None,
        if_range: str | None = None,
        headers_only: bool = False,
    ) -> None:
        recorded = RecordedPart.at(path, complete)
        part = None
        if ranges is not None and (if_range is None or if_range == recorded.tag):
            part = _parse_range(ranges, recorded.size)
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
            _content(recorded, begin, begin if headers_only else end),
            200 if part is None else 206,
            headers,
            mimetypes.guess_type(path.name)[0] or "application/octet-stream",
        )


def _parse_range(ranges: str, size: int) -> tuple[int, int] | None:
    """The begin and end of the requested range; None if the header is not a single range."""
    match = _RANGE.fullmatch(ranges.strip())
    if match is None or match[1] == match[2] == "":
        return None
    if not match[1]:
        begin, end = max(0, size - int(match[2])), size
    else:
        begin, end = int(match[1]), size if not match[2] else min(size, int(match[2]) + 1)
        if match[2] and int(match[2]) < begin:
            return None
    if begin >= end:
        raise HTTPException(
            416, f"the recording has {size} bytes", {"Content-Range": f"bytes */{size}"}
        )
    return begin, end


async def _content(recorded: RecordedPart, begin: int, end: int) -> AsyncIterator[bytes]:
    while begin < end:
        part = await run_in_threadpool(recorded.part, begin, end)
        if not part:
            raise EOFError("the recording has become shorter")
        yield part
        begin += len(part)
