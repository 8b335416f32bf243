"""Wrong messages and clients that have no access: each is refused, none harms the server."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus

from sana_stream.streaming.control.job_queue import WAITING_LIMIT, JobQueue
from sana_stream.streaming.web.auth import AccessPolicy
from sana_stream.streaming.web.options import WebOptions
from sana_stream.streaming.web.realtime.connection import MESSAGE_BYTES
from sana_stream.streaming.web.realtime.messages import CONTROL_BYTES, SessionError, parse_message
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.server import WebServer

from ...http_client import ask, await_that
from .maker import Client, Maker, client

AGAIN = {"type": "session.start", "prompt": "a red boat"}
FIRST = [
    ("{", "invalid_json"),
    ("[" * 1000, "invalid_json"),
    ('{"type": "session.start", "type": "session.stop"}', "invalid_json"),
    ("[]", "unknown_type"),
    ('{"type": ["session.start"]}', "unknown_type"),
    ('{"type": "session.begin"}', "unknown_type"),
    ('{"type": "session.ping"}', "start_expected"),
    ('{"type": "session.start"}', "invalid_message"),
    ('{"type": "session.start", "prompt": ""}', "invalid_message"),
    ('{"type": "session.start", "prompt": "\\ud800"}', "invalid_message"),
    ('{"type": "session.start", "prompt": "x", "seed": "7"}', "invalid_message"),
    ('{"type": "session.start", "prompt": "x", "seed": 1e400}', "invalid_message"),
    ('{"type": "session.start", "prompt": "x", "lora": {}}', "invalid_message"),
    ('{"type": "session.start", "prompt": "x", "extra_params": {"a": 1}}', "invalid_message"),
    ('{"type": "session.start", "prompt": "x", "format": "mp4"}', "unsupported_format"),
    ('{"type": "session.start", "prompt": " "}', "invalid_message"),
    ('{"type": "session.start", "prompt": "x", "width": 96}', "invalid_message"),
    (
        '{"type": "session.start", "prompt": "x", "size": "9x9", "width": 9, "height": 9}',
        "invalid_message",
    ),
    ('{"type": "session.start", "prompt": "x", "seconds": 1, "num_frames": 9}', "invalid_message"),
    ('{"type": "session.start", "prompt": "x", "model": "gpt-9"}', "model_not_found"),
    (b"\x00\x01", "invalid_message"),
    (json.dumps({"type": "session.start", "prompt": "x" * CONTROL_BYTES}), "message_too_large"),
]


def test_a_wrong_start_is_an_error_and_the_end(server: WebServer, jobs: JobQueue) -> None:
    for text, code in FIRST:
        with client(server.access.port) as viewer:
            viewer.socket.send(text)
            error = viewer.message()
            assert (error["type"], error["code"]) == ("error", code), text
            assert error["message"]
            assert viewer.closed() == 1008
    assert jobs.jobs() == ()


def test_wrong_messages_later_leave_the_session_running(viewer: Client, maker: Maker) -> None:
    viewer.begin()
    viewer.until("video.start")
    texts = [text for text, code in FIRST if code in ("invalid_json", "unknown_type")]
    for text in [*texts, b"\x00", "x" * (CONTROL_BYTES + 1), json.dumps(AGAIN)]:
        viewer.socket.send(text)
        assert viewer.message()["type"] == "error"
    for prompt in ("", " ", 7, "a<image>/etc/passwd", "x" * 4001, "a :0.5 | b :0.1"):
        viewer.prompt(prompt, "wrong")
        assert viewer.message()["event_id"] == "wrong"
    for chunks in (-1, 1.5, True, 10**9, "2"):
        viewer.prompt("night", "wrong", chunks)
        assert viewer.message()["event_id"] == "wrong"
    viewer.prompt("night", "")
    assert viewer.message()["type"] == "error"
    viewer.send("session.interaction")
    assert viewer.message()["code"] == "invalid_message"
    viewer.prompt("night", "right")
    assert viewer.message()["event_id"] == "right"
    maker.allow(1)
    assert viewer.message()["started_event_ids"] == ["right"]


def test_a_message_beyond_all_limits_closes_the_connection(
    viewer: Client, maker: Maker, jobs: JobQueue, server: WebServer
) -> None:
    viewer.begin()
    viewer.until("video.start")
    viewer.socket.send("x" * (MESSAGE_BYTES + 1))
    assert viewer.closed() == 1009
    await_that(lambda: jobs.jobs()[0].is_over, "its stream is still made")
    assert ask(server, "/status")[0] == 200


def test_a_full_queue_is_reported(server: WebServer, jobs: JobQueue, viewer: Client) -> None:
    for _ in range(WAITING_LIMIT):
        jobs.submit({"prompt": "a boat"})
    viewer.begin()
    assert viewer.message()["code"] == "queue_full"
    assert viewer.closed() == 1013


def handshake(port: int, path: str = "/v1/realtime/video", **headers: str) -> int:
    """The status of a handshake; names of headers are written with `_` for `-`."""
    given = {name.replace("_", "-"): text for name, text in headers.items()}
    try:
        with client(port, path, additional_headers=given):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


def test_pages_of_other_sites_cannot_open_a_session(server: WebServer) -> None:
    port = server.access.port
    assert handshake(port, Origin="http://evil.example") == 403
    assert handshake(port, Origin="null") == 403
    assert handshake(port, Origin=f"http://127.0.0.1:{port + 1}") == 403
    assert handshake(port, Sec_Fetch_Site="cross-site") == 403
    assert handshake(port, Host="evil.example") == 400
    assert handshake(port, Origin=f"http://127.0.0.1:{port}") == 101
    for path in ("/", "/live.mp4", "/v1/realtime", "/nowhere"):
        assert handshake(port, path) == 403, "no WebSocket is served there"


def test_elsewhere_a_token_is_needed(
    streams: StreamRegistry, jobs: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sana_stream.streaming.web.auth.WRONG_SECONDS", 0.0)
    with WebServer(streams, AccessPolicy.on("0.0.0.0", 0), jobs) as server:
        access, path = server.access, "/v1/realtime/video"

        def status(query: str = "", **headers: str) -> int:
            return handshake(access.port, path + query, **headers)

        assert status() == 401
        assert status("?token=wrong") == 401
        assert status(Authorization="Bearer wrong") == 401
        assert status(Authorization="Bearer ") == 401
        assert status(f"?token={access.view_token}") == 403
        assert status(f"?token={access.control_token}") == 101
        assert status(Authorization=f"Bearer {access.control_token}") == 101
        assert status(Cookie=f"{access.cookie}={access.control_token}") == 101
        assert ask(server, "/status", Authorization=f"Bearer {access.view_token}")[0] == 200
        assert ask(server, "/status", Authorization="Bearer wrong")[0] == 401
        assert ask(server, "/status", Authorization=f"Basic {access.view_token}")[0] == 401


def test_connections_are_counted_until_they_close(
    streams: StreamRegistry, jobs: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a session they make room for others; after all have gone there is room again."""
    monkeypatch.setattr("sana_stream.streaming.web.server.connection_limit", lambda: 4)
    with WebServer(streams, AccessPolicy.on("127.0.0.1", 0), jobs) as server:
        for _ in range(3):
            opened = [client(server.access.port) for _ in range(6)]
            viewers = [each.__enter__() for each in opened]
            assert ask(server, "/status")[0] == 200
            assert viewers[0].closed() == 1006, "the oldest has made room"
            for each in opened:
                with suppress(Exception):
                    each.__exit__(None, None, None)
        await_that(lambda: server._connections.count == 0, "closed ones are still counted")


def test_sessions_are_served_below_a_root_path(streams: StreamRegistry, jobs: JobQueue) -> None:
    access = AccessPolicy.on("127.0.0.1", 0, WebOptions(root_path="/video"))
    with WebServer(streams, access, jobs) as server:
        assert handshake(server.access.port, "/video/v1/realtime/video") == 101


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
FIELDS = st.sampled_from(["type", "prompt", "seed", "interaction", "extra_params", "format"])
TYPES = st.sampled_from(["session.start", "session.interaction", "session.ping", "session.stop"])


@settings(max_examples=150)
@given(st.dictionaries(FIELDS, VALUES), TYPES, st.binary(max_size=20))
def test_any_text_is_a_message_or_an_error(
    fields: dict[str, object], kind: str, other: bytes
) -> None:
    for text in (json.dumps({**fields, "type": kind}), other.decode(errors="replace")):
        with suppress(SessionError):
            parse_message(text)
