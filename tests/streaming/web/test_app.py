"""Directing a stream over HTTP, and requests that are refused."""

from __future__ import annotations

import json
from importlib import resources
from urllib.parse import quote

import pytest

from sana_stream.errors import InvalidOutputError
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.control.pending_changes import PendingChanges
from sana_stream.streaming.web.auth import AccessPolicy
from sana_stream.streaming.web.live_feed import LiveFeed
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.server import WebServer
from sana_stream.streaming.web.status import RunStatus

from ..http_client import VIDEO, ask, status, stream_of

STATIC = [  # the files that the page loads
    f"/{file.name}"
    for file in resources.files("sana_stream.streaming.web").joinpath("static").iterdir()
    if not file.name.endswith(".html")
]


def test_prompts_and_commands(current: StreamRegistry, server: WebServer) -> None:
    control = stream_of(current).control
    code, answer = ask(server, "/prompt", "a red  fox\n")
    expected = {"prompt": "a red fox", "from_frame_or_later": 0, "unknown_words": []}
    assert (code, json.loads(answer)) == (202, expected)
    assert status(server)["waiting_prompt"] == "a red fox"
    json_body = json.dumps({"prompt": "füchse"})
    assert ask(server, "/prompt", json_body, Content_Type="application/json")[0] == 202
    assert ask(server, "/command", "/seed 9")[0] == 202
    assert control.drain() == PendingChanges("füchse", None, 9)
    assert ask(server, "/command", "/pause")[0] == 202
    assert status(server)["state"] == "paused"
    resume = json.dumps({"command": "/resume"})
    assert ask(server, "/command", resume, Content_Type="application/json")[0] == 202
    assert status(server)["state"] == "starting"
    assert not control.stop.is_set()
    assert ask(server, "/command", "/stop")[0] == 202
    assert control.stop.is_set()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("~3 a fox", "text/plain"),
        ('{"prompt": "~3 a fox"}', "application/json"),
        ('{"prompt": "a fox", "transition_blocks": 3}', "application/json"),
        ('{"prompt": "a fox", "transition_chunks": 4}', "application/json"),
    ],
)
def test_prompts_are_blended_in(
    current: StreamRegistry, server: WebServer, body: str, kind: str
) -> None:
    code, answer = ask(server, "/prompt", body, Content_Type=kind)
    assert (code, json.loads(answer)["prompt"]) == (202, "a fox")
    assert stream_of(current).control.drain() == PendingChanges("a fox", blend=3)


@pytest.mark.parametrize(
    ("path", "body", "kind", "code"),
    [
        ("/prompt", "~3", "text/plain", 400),
        ("/prompt", "~3s a fox", "text/plain", 400),
        ("/prompt", "a fox :0.7 | a boat :0.7", "text/plain", 400),
        ("/prompt", '{"prompt": "a fox", "transition_blocks": 1001}', "application/json", 400),
        ("/prompt", '{"prompt": "a fox", "transition_blocks": "3"}', "application/json", 400),
        ("/prompt", '{"prompt": "~3 a fox", "transition_blocks": 3}', "application/json", 400),
        (
            *("/prompt", '{"prompt": "a", "transition_blocks": 1, "transition_chunks": 1}'),
            *("application/json", 400),
        ),
        ("/prompt", "", "text/plain", 400),
        ("/prompt", b"\xff\xfe", "text/plain", 400),
        ("/prompt", "not json", "application/json", 400),
        ("/prompt", '{"texts": "x"}', "application/json", 400),
        ("/prompt", '{"prompt": 5}', "application/json", 400),
        ("/prompt", "[" * 60000, "application/json", 400),
        ("/prompt", '{"prompt": ' + "9" * 5000 + "}", "application/json", 400),
        ("/prompt", "x" * 5000, "text/plain", 400),
        ("/prompt", "x" * 70000, "text/plain", 413),
        ("/command", "fox", "text/plain", 400),
        ("/command", '{"text": "/pause"}', "application/json", 400),
        ("/command", "/dance", "text/plain", 400),
        ("/command", "/seed " + "9" * 5000, "text/plain", 400),
        ("/command", "/branch ../../x", "text/plain", 400),
        ("/streams", '{"story": "x"}', "application/json", 404),
        ("/status", "x", "text/plain", 405),
        ("/../../etc/passwd", None, "text/plain", 404),
        ("/page.py", None, "text/plain", 404),
        ("/segment..%2f1.m4s", None, "text/plain", 404),
        (f"/segment{'9' * 5000}.m4s", None, "text/plain", 404),
        ("/download", None, "text/plain", 404),
    ],
)
def test_requests_that_are_refused(
    current: StreamRegistry,
    server: WebServer,
    path: str,
    body: str | bytes | None,
    kind: str,
    code: int,
) -> None:
    assert ask(server, path, body, Content_Type=kind)[0] == code
    assert stream_of(current).control.drain() == PendingChanges()


def test_each_stream_is_directed_at_its_own_address(
    current: StreamRegistry, server: WebServer
) -> None:
    first = stream_of(current)
    second = current.begin(LiveFeed(VIDEO), LiveControl(), RunStatus(VIDEO, "A night"))
    assert (first.id, second.id) == (1, 2)
    for path, title in (("/1", "A day"), ("/2", "A night"), ("", "A night")):
        found = json.loads(ask(server, f"/streams{path}/status" if path else "/status")[1])
        assert found["title"] == title
        assert [each["id"] for each in found["streams"]] == [1, 2]
    assert ask(server, "/streams/1/prompt", "noon")[0] == 202
    assert ask(server, "/streams/2/command", "/seed 4")[0] == 202
    assert ask(server, "/prompt", "dusk")[0] == 202
    assert first.control.drain() == PendingChanges("noon")
    assert second.control.drain() == PendingChanges("dusk", None, 4)
    second.status.finish()
    assert [each["id"] for each in status(server)["streams"]] == [1]
    for other in ("3", "01", "1 ", "-1", "9" * 5000, "%00", "../1"):
        assert ask(server, f"/streams/{quote(other)}/status")[0] == 404
        assert ask(server, f"/streams/{quote(other)}/prompt", "x")[0] in (404, 414)
    assert first.control.drain() == second.control.drain() == PendingChanges()


def test_before_the_first_stream_there_is_a_page() -> None:
    with WebServer(StreamRegistry(), AccessPolicy.on("127.0.0.1", 0)) as server:
        code, page = ask(server, "/")
        assert code == 200
        assert b"/page.js" in page
        for path in STATIC:
            assert ask(server, path)[0] == 200
        assert status(server) == {
            **{"state": "empty", "may_direct": True, "may_begin": False, "streams": []}
        }
        assert ask(server, "/live.mp4")[0] == 503


def test_the_page_asks_for_nothing_from_elsewhere(server: WebServer) -> None:
    for path in ("/", *(path for path in STATIC if not path.endswith(".webp"))):
        content = ask(server, path)[1].decode()
        assert "http://" not in content
        assert "https://" not in content
        assert "innerHTML" not in content


def test_those_who_watch_are_told_what_concerns_them(
    current: StreamRegistry, server: WebServer
) -> None:
    assert status(server)["notice"] == ""
    stream_of(current).status.set_notice("The recording ends at 0:12.")
    assert status(server)["notice"] == "The recording ends at 0:12."


def test_a_taken_port_is_said_at_once(server: WebServer) -> None:
    with pytest.raises(
        InvalidOutputError, match=r"port \d+ on 127\.0\.0\.1: address already in use"
    ):
        WebServer(StreamRegistry(), AccessPolicy.on("127.0.0.1", server.access.port))
    with pytest.raises(InvalidOutputError, match="port 70000: give 0 to 65535"):
        AccessPolicy.on("127.0.0.1", 70000)
