"""Reading what a request brings: not for ever, and not without end."""

from __future__ import annotations

import asyncio
import json

from starlette.exceptions import HTTPException
from starlette.requests import Request

BODY_LIMIT = 64 << 10  # bytes
BODY_SECONDS = 10.0
_WANTED = 'send text in UTF-8, or JSON: {"text": "…"}'


async def read_text(request: Request) -> str:
    """The body as one line of text, or that of the field `text` of a JSON object."""
    if request.headers.get("content-type", "").startswith("application/json"):
        fields = await read_json(request)
        text = fields.get("text") if isinstance(fields, dict) else None
    else:
        text = await _decoded(request)
    if not isinstance(text, str):
        raise HTTPException(400, _WANTED)
    return " ".join(text.split())


async def read_json(request: Request) -> object:
    """The body as JSON."""
    try:
        return json.loads(await _decoded(request))
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"this is not JSON; {_WANTED}") from error


async def _decoded(request: Request) -> str:
    try:
        return (await asyncio.wait_for(_body(request), BODY_SECONDS)).decode()
    except TimeoutError as error:
        raise HTTPException(408, "the request took too long") from error
    except UnicodeDecodeError as error:
        raise HTTPException(400, _WANTED) from error


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_LIMIT:
            raise HTTPException(413, f"a request has at most {BODY_LIMIT} bytes")
    return body
