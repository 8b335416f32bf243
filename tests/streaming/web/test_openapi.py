"""The description of the API: it is valid, complete, and what the server answers conforms to it."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from sana_stream.streaming.control.job_queue import JobQueue
from sana_stream.streaming.run.films import RecordedFilms
from sana_stream.streaming.run.recordings import Recordings
from sana_stream.streaming.web.app import create_app
from sana_stream.streaming.web.auth import AccessPolicy
from sana_stream.streaming.web.openapi import openapi_document
from sana_stream.streaming.web.openapi_table import GROUPS, NOT_DESCRIBED
from sana_stream.streaming.web.registry import StreamRegistry

from ..serving.local_server import LocalServer
from .described import check_described
from .test_answers import Fleet


def test_docs_load_nothing_from_elsewhere(served: LocalServer) -> None:
    status, page, headers = served.ask("GET", "/docs")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"http:" not in page
    assert b"https:" not in page
    assert "default-src 'self'" in headers["content-security-policy"]
    for name in ("docs.js", "docs.css", "openapi.json"):
        assert served.ask("GET", f"/{name}")[0] == 200


def test_described_paths_are_those_of_the_server(served: LocalServer) -> None:
    described = served.json("/openapi.json")
    assert described["openapi"].startswith("3.1")
    del described["paths"]["/v1/videos/sync"]  # where another method means a film of that id
    assert {"/films", "/words", "/health", "/ready", "/metrics"} <= described["paths"].keys()
    for path, operations in described["paths"].items():
        for method in ("get", "post", "put", "delete"):
            status = served.ask(method.upper(), re.sub(r"{\w+}", "999", path), {})[0]
            assert (status != 405) == (method in operations), (method, path, status)


def test_every_route_is_described_or_named(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path, keep=True, limit=None)
    recordings.check()
    with closing(recordings):
        app = create_app(
            *(StreamRegistry(), AccessPolicy.on("127.0.0.1", 0), JobQueue()),
            fleet=Fleet(),
            films=RecordedFilms(recordings),
            recordings=recordings,
        )
    document = openapi_document(app.routes)
    described = {(method, path) for path, found in document["paths"].items() for method in found}
    served = {
        (method.lower(), re.sub(r":\w+}", "}", getattr(route, "path", "")))
        for route in app.routes
        for method in (getattr(route, "methods", None) or {"WEBSOCKET"}) - {"HEAD"}
    }
    others = {path for _, path in served - described}
    files = {path for path in others if re.fullmatch(r"/[a-z-]+\.(css|js|webp)", path)}
    assert others - files == set(NOT_DESCRIBED)
    assert described <= served
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for answer in operation["responses"].values():
                schemas = answer.get("content", {}).get("application/json", {"schema": "$ref"})
                assert "$ref" in schemas["schema"], (path, "has no model of its answer")
    table = [(each.method, each.path) for group in GROUPS.values() for each in group]
    assert sorted(table) == sorted(described)
    assert {path for _, path in described} >= {"/fleet/drain", "/streams/{id}/story", "/image"}


CHECKS = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_answers_conform_to_the_description(served: LocalServer, mode: str) -> None:
    """Generated requests, by mode valid or invalid ones."""
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi import checks

    document = served.json("/openapi.json")
    del document["paths"]["/v1/videos/sync"]  # it waits for its film
    base = f"http://127.0.0.1:{served.port}"
    described = schemathesis.openapi.from_dict(document).include(path_regex="^/v1/")
    few = settings(
        max_examples=10,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        database=None,
        derandomize=True,
    )
    for found in described.get_all_operations():
        operation = found.ok()
        if mode == "negative" and not (operation.body or operation.query):
            continue  # nothing can be wrong in such a request
        strategy = operation.as_strategy(generation_mode=GenerationMode(mode))

        @few
        @given(strategy)
        def check(case) -> None:
            answer = case.call(base_url=base)
            assert answer.status_code != 500
            case.validate_response(answer, checks=[getattr(checks, name) for name in CHECKS])

        check()
    assert served.ask("GET", "/v1/models")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/films", "/words", "/words?prompt=x", "/examples", "/share", "/health", "/ready"),
        *("/streams", "/status"),
    ],
)
def test_answer_has_the_described_fields(served: LocalServer, path: str) -> None:
    document = served.json("/openapi.json")
    status, body, headers = served.ask("GET", path)
    assert headers["content-type"] == "application/json"
    check_described(document, "get", path.partition("?")[0], status, body)
