"""The page of the API in a browser."""

from __future__ import annotations

import pytest

from ..serving.local_server import LocalServer
from .browser import ABSENT, WHY_ABSENT, Browser

pytestmark = [pytest.mark.programs, pytest.mark.skipif(ABSENT, reason=WHY_ABSENT)]

OPERATION = """[...document.querySelectorAll("details")].find((each) =>
  each.querySelector("summary code").textContent === "{0}")"""
FIELDS = """[...({0}).querySelectorAll("h3, h4")].flatMap((heading) =>
  [...heading.nextElementSibling.rows].slice(1).map((row) =>
    `${{heading.textContent}}.${{row.cells[0].textContent}}: ${{row.cells[1].textContent}}`))"""


def fields(browser: Browser, operation: str) -> list[str]:
    """The fields that the page shows for an operation: `model.field: type`."""
    return browser.run(f"return {FIELDS.format(OPERATION.format(operation))}")


def test_page_shows_the_fields_of_bodies_and_answers(served: LocalServer) -> None:
    with Browser() as browser:
        browser.open(f"http://127.0.0.1:{served.port}/docs")
        browser.wait("document.querySelectorAll('details, [role=alert]').length")
        operations = browser.run("return document.querySelectorAll('details').length")
        described = browser.run(
            "return fetch('openapi.json').then((answer) => answer.json()).then(({ paths }) =>"
            " Object.values(paths).flatMap(Object.keys).length)"
        )
        assert operations == described
        assert "undefined" not in browser.run("return document.body.textContent")
        shown = fields(browser, "get/status")
        assert {
            "StreamStatus.seconds: number",
            "StreamStatus.coming: list of ShownPrompt",
            "StreamStatus.left_out: list of [integer, integer]",
            "ShownPrompt.transition_blocks: integer",
        } <= set(shown)
        assert "Stream.state: queued, running, finished, cancelled, failed" in fields(
            browser, "get/streams"
        )
        assert "CueBody.at_seconds: number" in fields(browser, "put/story")
