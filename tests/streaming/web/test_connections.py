"""Many idle, slow or stalled connections, which must not delay the stream."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from sana_stream.streaming.web.connections import Connections
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.server import WebServer

from ..blocks import blocks
from ..http_client import (
    TIMEOUT_SECONDS,
    Viewer,
    ask,
    await_that,
    await_viewers,
    numbers_of,
    status,
    stream_of,
)

resource = pytest.importorskip("resource")
HALF_A_REQUEST = b"GET /status HTTP/1.1\r\nHost: localh"
NO_BODY = b"POST /prompt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
KINDS = [b"", HALF_A_REQUEST, NO_BODY, b"\x16\x03\x01\x02\x00\x01\x00"]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, current: StreamRegistry) -> Iterator[WebServer]:
    """A server that has room for eight connections, four of them viewers'."""
    monkeypatch.setattr("sana_stream.streaming.web.server.connection_limit", lambda: 8)
    from sana_stream.streaming.web.auth import AccessPolicy

    with WebServer(current, AccessPolicy.on("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def crowd() -> Iterator[list[socket.socket]]:
    """Connections that are closed at the end."""
    opened: list[socket.socket] = []
    yield opened
    for connection in opened:
        connection.close()


def connect(port: int, say: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)
    connection.sendall(say)
    return connection


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1 << 16) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize("say", KINDS)
def test_the_oldest_that_says_nothing_makes_room(
    few: WebServer, crowd: list[socket.socket], say: bytes
) -> None:
    for _ in range(40):
        with suppress(ConnectionError):  # disconnected before it sent anything
            crowd.append(connect(few.access.port, say))
    for _ in range(5):
        assert status(few)["state"] == "starting"
    for connection in crowd[:30]:
        await_that(lambda c=connection: is_closed(c), "the oldest stay")


def test_viewers_are_not_let_go_for_others(few: WebServer, current: StreamRegistry) -> None:
    feed = stream_of(current).feed
    viewers = [Viewer(few) for _ in range(4)]
    await_viewers(few, 4)
    with ExitStack() as opened:
        for _ in range(30):
            opened.enter_context(connect(few.access.port))
        assert ask(few, "/live.mp4")[0] == 503
        for block in blocks(3):
            feed.write(block)
            newest = feed.segments()[-1].data
            for viewer in viewers:
                await_that(lambda v=viewer, n=newest: v.data.endswith(n), "a block is missing")
        feed.close()
        for viewer in viewers:
            assert numbers_of(viewer.body()) == list(range(49))


def test_where_all_are_held_a_new_one_is_lines_to_come_back() -> None:
    class Held:
        held = True

        def abort(self) -> None:
            raise AssertionError("it is held")

    connections = Connections(2)
    for connection in (Held(), Held()):
        connections.busy(connection)
    assert not connections.make_room()


def test_an_answer_that_nobody_takes_is_not_kept(
    current: StreamRegistry, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the connection is to close behind it."""
    monkeypatch.setattr("sana_stream.streaming.web.server.HEADER_SECONDS", 0.2)
    monkeypatch.setattr("sana_stream.streaming.web.http_protocol.FLUSH_SECONDS", 0.2)
    monkeypatch.setattr("sana_stream.streaming.web.auth.SEND_SECONDS", 0.2)

    class Large:
        init = bytes(64 << 20)

    monkeypatch.setattr(stream_of(current).feed, "_fragments", Large())
    for ending in (b"Connection: close\r\n", b""):
        request = b"GET /init.mp4 HTTP/1.1\r\nHost: localhost\r\n" + ending + b"\r\n"
        with connect(server.access.port, request):
            await_that(lambda: server._connections.count == 0, "the connection is kept")


@pytest.mark.parametrize("say", KINDS)
def test_every_block_comes_where_descriptors_are_few(tmp_path: Path, say: bytes) -> None:
    """As many as a system gives by default to some, and many more connections than that."""
    _require_descriptors(1000)
    film = tmp_path / "film.mp4"
    script = Path(__file__).parents[1] / "page_server.py"
    process = subprocess.Popen(
        [sys.executable, str(script), "--record", str(film), "--blocks", "5"],
        stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)),
    )
    try:
        assert process.stderr is not None
        found = re.search(rb"http://127.0.0.1:(\d+)/", process.stderr.readline())
        assert found
        port = int(found[1])
        with ExitStack() as opened:
            for _ in range(700):
                with suppress(ConnectionError):
                    opened.enter_context(connect(port, say))
            until = time.monotonic() + TIMEOUT_SECONDS
            while (state := _status(port))["state"] != "finished":
                assert time.monotonic() < until
                assert psutil.Process(process.pid).num_fds() < 256 - 40
                with suppress(ConnectionError):
                    opened.enter_context(connect(port, say))
        assert state["blocks"] == 5
        assert numbers_of_frames(film) == 81
    finally:
        process.kill()
        assert process.stderr is not None
        lines = process.stderr.read().decode().splitlines()
        process.wait(TIMEOUT_SECONDS)
    assert [line for line in lines if not line.startswith("watch ")] == []


def _status(port: int) -> dict[str, object]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    connection.request("GET", "/status")
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def numbers_of_frames(film: Path) -> int:
    import av

    with av.open(str(film)) as container:
        return sum(1 for _ in container.decode(video=0))


def _require_descriptors(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
        except (OSError, ValueError):
            pytest.skip(f"needs {count} descriptors, the hard limit is {hard}")
