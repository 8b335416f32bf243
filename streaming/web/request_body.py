"""Reading the body of a request, limited in time and size."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request

from sana_stream._files import parse_json
from sana_stream._prompts import MOST_BLOCKS, blocks_of_chunks

BODY_LIMIT = 64 << 10  # bytes
UPLOAD_LIMIT = 16 << 20  # bytes of a request with a file
BODY_SECONDS = 10.0
UPLOAD_SECONDS = 60.0
_DEPTH = 8  # nested lists and objects
_DATA_URL_PATHS = {"/v1/videos", "/v1/videos/sync"}  # whose JSON may have a picture
_EXPECTED = "send text in UTF-8, or JSON"
_EXPECTED_PROMPT = (
    'send a prompt in UTF-8, or JSON: {"prompt": "…", "transition_blocks": 4}, with a number from 0'
    f" to {MOST_BLOCKS}"
)
# the types that curl and forms send are read as text, too
_ACCEPTED = {
    "",
    "application/json",
    "application/x-www-form-urlencoded",
    "application/octet-stream",
}


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class CommandBody(_Body):
    """A command of live control, such as `/pause`."""

    command: str


class ReplicaBody(_Body):
    """The name of a replica of a fleet."""

    replica: str


class PromptBody(_Body):
    """A prompt, and over how many blocks it is blended in."""

    prompt: str
    transition_blocks: int | None = Field(None, ge=0, le=MOST_BLOCKS)
    transition_chunks: int | None = Field(None, ge=0, le=MOST_BLOCKS)  # as vLLM-Omni names it


def refused_body(method: str, path: str, headers: Headers) -> tuple[int, str] | None:
    """The status and reason if the headers announce a body that is refused; None otherwise."""
    content_type = headers.get("content-type", "")
    upload = method == "POST" and is_upload(content_type)
    is_large = upload or (method == "POST" and path in _DATA_URL_PATHS)
    limit = UPLOAD_LIMIT if is_large else BODY_LIMIT
    length = headers.get("content-length", "0")
    if len(length) > 9 or int(length) > limit:
        return 413, f"a request has at most {limit} bytes"
    if method != "POST" and "transfer-encoding" in headers:
        return 411, f"{method[:20]} takes no body of unknown length"
    if method == "POST" and headers.get("content-encoding", "identity") != "identity":
        return 415, "the body is compressed: send it uncompressed"
    if method == "POST" and not (upload or _is_accepted(content_type)):
        return 415, _EXPECTED
    return None


def is_upload(content_type: str) -> bool:
    """Whether a body is a form with files, or an image."""
    kind = _kind(content_type)
    return kind == "multipart/form-data" or kind.startswith("image/")


async def upload_parts(request: Request) -> AsyncGenerator[bytes, None]:
    """The body of an upload as it arrives; HTTPException 413 after too many bytes."""
    received = 0
    async for part in request.stream():
        received += len(part)
        if received > UPLOAD_LIMIT:
            raise HTTPException(413, f"a request has at most {UPLOAD_LIMIT} bytes")
        yield part


async def read_prompt(request: Request) -> tuple[str, int | None]:
    """A prompt as one line of text, and over how many blocks it is blended in.

    The body is text, without a number; or a JSON object with `prompt` and optionally
    `transition_blocks`, or in its place `transition_chunks`, which counts one more.
    """
    if not _is_json(request):
        return await _read_line(request), None
    try:
        fields = PromptBody.model_validate(await read_json(request))
    except ValidationError as error:
        raise HTTPException(400, _EXPECTED_PROMPT) from error
    blocks, chunks = fields.transition_blocks, fields.transition_chunks
    if blocks is not None and chunks is not None:
        raise HTTPException(
            400, "transition_blocks and transition_chunks are both lengths: leave one of them out"
        )
    if chunks is not None:
        blocks = blocks_of_chunks(chunks)
    return " ".join(fields.prompt.split()), blocks


async def read_command(request: Request) -> str:
    """The body as one line of text, or the field `command` of a JSON object."""
    return await _read_field(request, CommandBody, "command")


async def read_replica(request: Request) -> str:
    """The body as one line of text, or the field `replica` of a JSON object."""
    return await _read_field(request, ReplicaBody, "replica")


async def read_json(request: Request, *, data_url: bool = False) -> object:
    """The body as JSON of limited depth; a repeated key is refused.

    With `data_url` the limit of an upload applies to one string that is a `data:` URL; the rest of
    the body has the usual limit.
    """
    text = await _decoded(request, data_url)
    if len(text) <= BODY_LIMIT:
        return _parsed(text)
    if _without_data_url(text) > BODY_LIMIT:
        raise HTTPException(413, f"a request without its data: URL has at most {BODY_LIMIT} bytes")
    return await run_in_threadpool(_parsed, text)


def _parsed(text: str) -> object:
    try:
        return parse_json(text, UPLOAD_LIMIT, _DEPTH, pairs=unique_keys)
    except ValueError as error:
        raise HTTPException(400, f"this is not JSON: {error}") from error


def _without_data_url(text: str) -> int:
    """The characters of JSON besides its longest string, if that is a `data:` URL."""
    longest = max(text.split('"', BODY_LIMIT), key=len)
    is_data = longest[:5].lower() == "data:"
    return len(text) - (len(longest) if is_data else 0)


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a key is repeated")
    return fields


async def _read_line(request: Request) -> str:
    return " ".join((await _decoded(request)).split())


async def _read_field(request: Request, body: type[_Body], name: str) -> str:
    if not _is_json(request):
        return await _read_line(request)
    try:
        fields = body.model_validate(await read_json(request))
    except ValidationError as error:
        raise HTTPException(400, f'{_EXPECTED}: {{"{name}": "…"}}') from error
    return " ".join(getattr(fields, name).split())


def _is_accepted(content_type: str) -> bool:
    kind = _kind(content_type)
    charset = content_type.lower().partition("charset=")[2].partition(";")[0].strip(' "')
    return (kind in _ACCEPTED or kind.startswith("text/")) and charset in (
        "",
        "utf-8",
        "utf8",
        "us-ascii",
    )


def _is_json(request: Request) -> bool:
    return _kind(request.headers.get("content-type", "")) == "application/json"


def _kind(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


async def _decoded(request: Request, data_url: bool = False) -> str:
    if is_upload(request.headers.get("content-type", "")):
        raise HTTPException(415, f"no file is taken here: {_EXPECTED}")
    try:
        limit, seconds = (UPLOAD_LIMIT, UPLOAD_SECONDS) if data_url else (BODY_LIMIT, BODY_SECONDS)
        return (await asyncio.wait_for(_body(request, limit), seconds)).decode()
    except TimeoutError as error:
        raise HTTPException(408, "the request took too long") from error
    except UnicodeDecodeError as error:
        raise HTTPException(400, _EXPECTED) from error


async def _body(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise HTTPException(413, f"a request has at most {limit} bytes")
    return bytes(body)
