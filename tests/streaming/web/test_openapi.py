"""The description of the API: it is valid, complete, and what the server answers conforms to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from ..serving.local_server import LocalServer, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Iterator[LocalServer]:
    with serving(tmp_path_factory.mktemp("films"), tiny_folder) as server:
        yield server


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
    for path, operations in described["paths"].items():
        for method in ("get", "post", "delete"):
            status = served.ask(method.upper(), path.replace("{id}", "999"), {})[0]
            assert (status != 405) == (method in operations), (method, path, status)


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
