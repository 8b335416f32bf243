"""The OpenAPI document of the server, made of its routes and the models of its operations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any, Literal

from pydantic import TypeAdapter
from starlette.routing import BaseRoute, Route

from .openapi_table import GROUPS, NOTHING, Operation
from .v1.schema import ApiErrorBody

_JSON, _TEXT = "application/json", "text/plain"
_ERRORS = {
    400: "The request cannot be understood, or the model cannot make it",
    401: "The token or key is missing or wrong",
    403: "The token allows watching only",
    404: "There is none of this name or id",
    409: "It is not complete, or cannot begin there",
    413: "The body is too large",
    415: "A body of another type",
    503: "Not possible now; Retry-After says when to try again",
}
_NAME = re.compile(r"{(\w+)(?::(\w+))?}")  # of a parameter in the path of a route, and its type
_MODE: Literal["validation"] = "validation"
_Schemas = Mapping[type, dict[str, Any]]


def openapi_document(routes: Sequence[BaseRoute], root: str = "") -> dict[str, Any]:
    """The document of the operations that routes serve.

    Args:
        routes: of the server.
        root: the path below which the server is reached.
    """
    served = {key: path for route in routes for key, path in _served(route)}
    found = [
        (group, each)
        for group, operations in GROUPS.items()
        for each in operations
        if (each.method, each.path) in served
    ]
    schemas, definitions = _schemas([each for _, each in found])
    paths: dict[str, dict[str, Any]] = {}
    for group, each in found:
        route = served[each.method, each.path]
        paths.setdefault(each.path, {})[each.method] = _operation(each, group, route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "sana-stream", "version": metadata.version("sana-stream")},
        "servers": [{"url": root or "/"}],
        "security": [{}, {"key": []}],
        "tags": [{"name": group} for group in dict.fromkeys(group for group, _ in found)],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _served(route: BaseRoute) -> Iterator[tuple[tuple[str, str], str]]:
    """Method and path of a route as OpenAPI writes them, and the path as it is routed."""
    if isinstance(route, Route):
        path = _NAME.sub(r"{\1}", route.path)
        yield from (((method.lower(), path), route.path) for method in route.methods or ())


def _schemas(operations: Sequence[Operation]) -> tuple[_Schemas, dict[str, Any]]:
    """The schemas of the models of operations, and their definitions by name."""
    parts = [
        part
        for each in operations
        for part in (each.answer, each.body, each.form, each.unavailable)
    ]
    models = {part for part in (*parts, ApiErrorBody) if isinstance(part, type)}
    ordered = sorted(models, key=lambda model: model.__name__)
    found, definitions = TypeAdapter.json_schemas(
        [(model, _MODE, TypeAdapter(model)) for model in ordered],
        ref_template="#/components/schemas/{model}",
    )
    return {model: found[model, _MODE] for model in ordered}, definitions["$defs"]


def _operation(operation: Operation, group: str, route: str, schemas: _Schemas) -> dict[str, Any]:
    found: dict[str, Any] = {
        "tags": [group],
        "summary": operation.summary,
        "parameters": _parameters(operation, route),
        "responses": {str(operation.status): _answer(operation, schemas)},
    }
    is_v1 = operation.path.startswith("/v1/")
    error = schemas[ApiErrorBody] if is_v1 else {"type": "string"}
    for status in sorted({*operation.errors, 405}):
        content = {_JSON if is_v1 else _TEXT: {"schema": error}}
        if status == 503 and operation.unavailable is not None:
            content = {_JSON: {"schema": schemas[operation.unavailable]}}
        reason = _ERRORS.get(status, "Another method")
        found["responses"][str(status)] = {"description": reason, "content": content}
    if bodies := _bodies(operation, schemas):
        found["requestBody"] = {"required": True, "content": bodies}
    return found


def _parameters(operation: Operation, route: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _typed(kind)}
        for name, kind in _NAME.findall(route)
    ] + [{"name": name, "in": "query", "schema": each} for name, each in operation.query.items()]


def _typed(kind: str) -> dict[str, Any]:
    return {"type": "integer", "minimum": 0} if kind == "int" else {"type": "string"}


def _answer(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": operation.summary}
    if operation.answer == NOTHING:
        return answer
    if isinstance(operation.answer, str):
        answer["content"] = {kind: {"schema": {}} for kind in operation.answer.split(", ")}
    else:
        answer["content"] = {_JSON: {"schema": schemas[operation.answer]}}
    return answer


def _bodies(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    bodies: dict[str, Any] = {}
    if operation.body is not None:
        bodies[_JSON] = {"schema": schemas[operation.body]}
    if operation.file is not None and operation.form is not None:
        file = {"type": "string", "contentMediaType": "image/*"}
        form: dict[str, Any] = {"type": "object", "properties": {operation.file: file}}
        if operation.body is None:  # the picture is what is sent
            form["required"] = [operation.file]
            bodies["image/*"] = {"schema": {}}
        bodies["multipart/form-data"] = {"schema": {"allOf": [schemas[operation.form], form]}}
    return bodies
