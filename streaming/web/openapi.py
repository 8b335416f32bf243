"""The OpenAPI document of the server, made of the models of its requests and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from sana_stream.streaming.control.stream_request import StreamRequest

from .request_body import PromptBody, TextBody
from .v1 import schema

_JSON, _TEXT = "application/json", "text/plain"
_ERRORS = {
    400: "The request cannot be understood, or the model cannot make it",
    401: "The token or key is missing or wrong",
    403: "The token allows watching only",
    404: "There is none of this name or id",
    409: "It is not complete, or cannot be branched there",
    413: "The body is too large",
    415: "A body of another type",
    503: "Too many are waiting or connected; Retry-After says when to try again",
}


@dataclass(frozen=True)
class Operation:
    """One operation of one path.

    Args:
        method, path: in small letters; as OpenAPI writes it.
        summary: what it does.
        answer: the model, or the media type, of its answer; None: a JSON object or no body.
        body: the model of its JSON body.
        errors: the statuses of refusals.
        query: the parameters of its address, with their schemas.
        status: of its answer.
        file: the field of a form that is a file.
    """

    method: str
    path: str
    summary: str
    answer: type[BaseModel] | str | None = None
    body: type[BaseModel] | None = None
    errors: tuple[int, ...] = (401, 404)
    query: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    status: int = 200
    file: str | None = None


_PAGE = {
    "after": {"type": "string", "description": "id of the last film of the page before"},
    "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    "order": {"type": "string", "enum": ["asc", "desc"], "default": "desc"},
}
_VARIANT = {"type": "string", "enum": ["video", "thumbnail", "spritesheet"], "default": "video"}
_MADE = (400, 401, 403, 404, 413, 415, 503)
_READ = (401, 403, 404)
_FILM, _STREAM = "/v1/videos/{id}", "/streams/{id}"
VIDEOS = (
    Operation("get", "/v1/models", "List the model", schema.ModelList, errors=(401,)),
    Operation("get", "/v1/models/{id}", "Show the model", schema.Model),
    Operation(
        *("get", "/v1/videos", "List films", schema.VideoList),
        errors=(400, 401, 403),
        query=_PAGE,
    ),
    Operation(
        *("post", "/v1/videos", "Ask for a film", schema.Video, schema.CreateVideo, _MADE),
        file="input_reference",
    ),
    Operation(
        *("post", "/v1/videos/sync", "Make a film and wait for its file", "video/mp4"),
        *(schema.CreateVideo, (*_MADE, 409)),
        file="input_reference",
    ),
    Operation("get", _FILM, "Show how far a film is", schema.Video, errors=_READ),
    Operation(
        *("delete", _FILM, "Remove or cancel a film", schema.DeletedVideo), errors=(*_READ, 503)
    ),
    Operation(
        *("get", f"{_FILM}/content", "Get the file of a film, or a picture of it", "video/mp4"),
        errors=(400, 401, 403, 404, 409, 503),
        query={"variant": _VARIANT},
    ),
    Operation(
        *("post", f"{_FILM}/remix", "Continue a film under a new prompt", schema.Video),
        *(schema.RemixVideo, (*_MADE, 409)),
    ),
)
STREAMS = (
    Operation("get", "/streams", "List the streams", errors=(401, 403)),
    Operation(
        *("post", "/streams", "Ask for a stream", None, StreamRequest),
        errors=(*_MADE, 409),
        status=201,
    ),
    Operation("get", _STREAM, "Show a stream", errors=_READ),
    Operation("delete", _STREAM, "End or cancel a stream", errors=_READ, status=204),
    Operation("get", f"{_STREAM}/status", "Show the state of a stream"),
    Operation(
        *("post", f"{_STREAM}/prompt", "Change the prompt", None, PromptBody),
        errors=(*_MADE,),
        status=202,
    ),
    Operation(
        *("post", f"{_STREAM}/command", "Give a command such as /pause", _TEXT, TextBody),
        errors=_MADE,
        status=202,
    ),
    Operation("get", f"{_STREAM}/", "The page of a stream", "text/html"),
    Operation("get", f"{_STREAM}/live.mp4", "Watch a stream", "video/mp4", errors=(401, 404, 503)),
    Operation(
        *("get", f"{_STREAM}/live.m3u8", "Watch a stream as HLS", "application/vnd.apple.mpegurl"),
        errors=(401, 404, 503),
    ),
    Operation(
        *("get", f"{_STREAM}/download", "Get the recording so far", "video/mp4"),
        errors=(401, 404, 503),
    ),
)


def openapi_document(operations: tuple[Operation, ...], root: str = "") -> dict[str, Any]:
    """The document of these operations; `root` is the path below which the server is reached."""
    models = {each for operation in operations for each in (operation.answer, operation.body)}
    named = [(m, "validation") for m in models if isinstance(m, type)]
    named.append((schema.ApiErrorBody, "validation"))
    _, schemas = models_json_schema(
        sorted(named, key=lambda pair: pair[0].__name__),  # pyright: ignore[reportArgumentType]
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "sana-stream", "version": metadata.version("sana-stream")},
        "servers": [{"url": root or "/"}],
        "security": [{}, {"key": []}],
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": {str(operation.status): _answer(operation)},
    }
    is_v1 = operation.path.startswith("/v1/")
    error = _ref(schema.ApiErrorBody) if is_v1 else {"type": "string"}
    for status in sorted({*operation.errors, 405}):
        content = {_JSON if is_v1 else _TEXT: {"schema": error}}
        reason = _ERRORS.get(status, "Another method")
        found["responses"][str(status)] = {"description": reason, "content": content}
    if operation.body is not None:
        found["requestBody"] = {"required": True, "content": _bodies(operation)}
    return found


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if "{id}" in operation.path:
        name = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
        found.append(name)
    for name, each in operation.query.items():
        found.append({"name": name, "in": "query", "schema": each})
    return found


def _answer(operation: Operation) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": operation.summary}
    if operation.status == 204:
        return answer
    if isinstance(operation.answer, str):
        kinds = [operation.answer, *(["image/webp"] if "variant" in operation.query else [])]
        answer["content"] = {kind: {"schema": {}} for kind in kinds}
    else:
        model = operation.answer
        answer["content"] = {_JSON: {"schema": {} if model is None else _ref(model)}}
    return answer


def _bodies(operation: Operation) -> dict[str, Any]:
    assert operation.body is not None
    bodies: dict[str, Any] = {_JSON: {"schema": _ref(operation.body)}}
    if operation.file is not None:
        file = {"type": "string", "contentMediaType": "image/*"}
        form = {"type": "object", "properties": {operation.file: file}}
        bodies["multipart/form-data"] = {"schema": {"allOf": [_ref(operation.body), form]}}
    return bodies


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
