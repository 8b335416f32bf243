"""Health checks: who may ask, and what they report."""

from __future__ import annotations

import json

import pytest

from sana_stream.streaming.control.job_queue import WAITING_LIMIT, JobQueue
from sana_stream.streaming.web.auth import AccessPolicy
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.server import WebServer

from ..blocks import blocks
from ..http_client import ask, stream_of


@pytest.mark.parametrize("token", ["", "?token=wrong"])
def test_health_needs_no_token(current: StreamRegistry, token: str) -> None:
    with WebServer(current, AccessPolicy.on("0.0.0.0", 0), ready=lambda: None) as server:
        assert ask(server, f"/health{token}") == (200, b'{"status":"ok"}')
        assert ask(server, f"/ready{token}") == (200, b'{"status":"ready"}')
        assert ask(server, f"/health{token}", method="HEAD") == (200, b"")
        assert ask(server, f"/ready{token}", method="HEAD") == (200, b"")
        assert ask(server, f"/metrics{token}")[0] == 401
        assert ask(server, "/health", "x")[0] == 405
        for path in ("/health/", "/health/../status", "/healthy", "/ready/x", "//health"):
            assert ask(server, path)[0] == 401


def test_foreign_names_get_no_answer(server: WebServer) -> None:
    for path in ("/health", "/ready"):
        assert ask(server, path, Host="evil.example")[0] == 400
        assert ask(server, path, Origin="https://evil.example")[0] == 403


def test_reason_is_reported(current: StreamRegistry) -> None:
    reasons = ["the model is being loaded", None]
    with WebServer(current, AccessPolicy.on("127.0.0.1", 0), ready=lambda: reasons[0]) as server:
        code, answer = ask(server, "/ready")
        assert code == 503
        assert json.loads(answer) == {"status": "unavailable", "reason": reasons[0]}
        assert ask(server, "/ready", method="HEAD") == (503, b"")
        assert ask(server, "/health")[0] == 200
        assert b"\nsana_stream_ready 0.0\n" in ask(server, "/metrics")[1]
        reasons.pop(0)
        assert ask(server, "/ready")[0] == 200
        assert b"\nsana_stream_ready 1.0\n" in ask(server, "/metrics")[1]


def test_page_of_one_run_is_ready_while_it_can_be_watched(
    current: StreamRegistry, server: WebServer
) -> None:
    assert b"the first block is being generated" in ask(server, "/ready")[1]
    stream_of(current).status.on_block(next(blocks()))
    assert ask(server, "/ready")[0] == 200
    stream_of(current).status.finish()
    assert b"the stream has ended" in ask(server, "/ready")[1]


def test_full_or_closed_queue_refuses_jobs() -> None:
    queue = JobQueue()
    for _ in range(WAITING_LIMIT):
        assert queue.refusal() is None
        queue.submit({"story": "a fox"})
    assert queue.refusal() == f"{WAITING_LIMIT} streams are waiting"
    queue.cancel(1)
    assert queue.refusal() is None
    assert queue.ended == {"cancelled": 1}
    queue.interrupt()
    assert queue.refusal() == "the server is shutting down"
