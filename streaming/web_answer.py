"""Answers that arrive whatever is in them: text that is no UTF-8, messages of many lines."""

from __future__ import annotations

import json
from contextlib import aclosing

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import Send

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
