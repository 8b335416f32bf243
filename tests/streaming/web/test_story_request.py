"""Replacing the coming prompts of a stream over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sana_stream.streaming.control.scheduled_prompt import ScheduledPrompt
from sana_stream.streaming.web.auth import AccessPolicy
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.server import WebServer

from ..blocks import make_block
from ..http_client import ask, status, stream_of


def put(server: WebServer, content: object, query: str = "") -> tuple[int, bytes]:
    body = content if isinstance(content, str) else json.dumps(content)
    return ask(server, f"/story{query}", body, "PUT", Content_Type="application/json")


def test_prompts_to_come_are_replaced(current: StreamRegistry, server: WebServer) -> None:
    stream = stream_of(current)
    cues = [
        {"at_seconds": 12, "prompt": "a  fox", "transition_blocks": 2},
        {"at_seconds": 20.5, "prompt": "~3 dusk"},
    ]
    assert put(server, {"cues": cues})[0] == 400  # both notations of a blend
    cues[1]["prompt"] = "dusk"
    code, answer = put(server, {"cues": cues})
    coming = [
        {"start": 192, "prompt": "a fox", "transition_blocks": 2},
        {"start": 328, "prompt": "dusk", "transition_blocks": 0},
    ]
    assert (code, json.loads(answer)) == (202, {"coming": coming})
    assert status(server)["coming"] == coming
    story = stream.control.drain(0).story
    assert story == (ScheduledPrompt(12, "a fox", 2), ScheduledPrompt(20.5, "dusk"))
    assert put(server, {"cues": []})[0] == 202
    assert stream.control.drain(0).story == ()


def test_a_past_moment_is_refused_with_the_earliest_one(
    current: StreamRegistry, server: WebServer
) -> None:
    stream = stream_of(current)
    stream.status.on_block(make_block(0, 0, 17))
    code, answer = put(server, {"cues": [{"at_seconds": 1.05, "prompt": "a fox"}]})
    assert code == 409
    assert answer == b"at_seconds 1.05 is generated already: give 1.062 or later\n"
    assert put(server, {"cues": [{"at_seconds": 1.062, "prompt": "a fox"}]})[0] == 202


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{", {}, {"cues": {}}, {"cues": [], "more": 1}, {"cues": [{}]}),
        *({"cues": [{"at_seconds": at, "prompt": "x"}]} for at in (-1, "1", None, True, 1e9)),
        {"cues": [{"at_seconds": float("nan"), "prompt": "x"}]},
        *({"cues": [{"at_seconds": 1, "prompt": text}]} for text in ("", "a" * 4001, 7)),
        *(
            {"cues": [{"at_seconds": 1, "prompt": "x", "transition_blocks": n}]}
            for n in (-1, 1001, 1.5, "2", True)
        ),
        {"cues": [{"at_seconds": 1, "prompt": "x", "at": 2}]},
    ],
)
def test_anything_else_is_refused(current: StreamRegistry, server: WebServer, content: Any) -> None:
    code, reason = put(server, content)
    assert code == 400
    assert len(reason) > 10
    assert stream_of(current).control.waiting_story is None


def test_clients_that_only_watch_are_refused(current: StreamRegistry) -> None:
    with WebServer(current, AccessPolicy.on("0.0.0.0", 0)) as server:
        cues = {"cues": [{"at_seconds": 1, "prompt": "x"}]}
        assert put(server, cues, f"?token={server.access.view_token}")[0] == 403
        assert put(server, cues)[0] == 401
        assert put(server, cues, f"?token={server.access.control_token}")[0] == 202
