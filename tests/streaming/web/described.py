"""Comparing answers of a server with its OpenAPI document."""

from __future__ import annotations

import json
from typing import Any

import pytest


def check_described(
    document: dict[str, Any], method: str, path: str, status: int, body: bytes
) -> Any:
    """Check an answer in JSON against the schema of its operation, and return its content.

    A field that is not described is an error, whatever the schema says about further fields.

    Args:
        document: of the server.
        method: in small letters.
        path: as the document writes it.
        status: of the answer.
        body: of the answer.
    """
    jsonschema = pytest.importorskip("jsonschema")
    answer = document["paths"][path][method]["responses"][str(status)]
    schema = answer["content"]["application/json"]["schema"]
    assert "$ref" in schema, (method, path, "has no model")
    content = json.loads(body)
    jsonschema.validate(content, {**schema, "components": _closed(document["components"])})
    return content


def _closed(schema: Any) -> Any:
    """The same schemas, whose objects have no further fields."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _closed(each) for name, each in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        found.setdefault("additionalProperties", False)
    return found
