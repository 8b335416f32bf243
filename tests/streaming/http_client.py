"""Asking a server of this process over real connections."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import av

from sana_stream.streaming.video_format import VideoFormat
from sana_stream.streaming.web.registry import ActiveStream, StreamRegistry
from sana_stream.streaming.web.server import WebServer

from .blocks import number_of

VIDEO = VideoFormat(96, 64, 16)
TIMEOUT_SECONDS = 120  # seconds for what a busy machine does late


def stream_of(current: StreamRegistry) -> ActiveStream:
    assert current.newest
    return current.newest


def ask(
    server: WebServer,
    path: str,
    body: str | bytes | None = None,
    method: str | None = None,
    **headers: str,
) -> tuple[int, bytes]:
    """Status and content of an answer; names of headers are written with `_` for `-`."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", server.access.port, timeout=TIMEOUT_SECONDS
    )
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    connection.request(method or ("GET" if body is None else "POST"), path, body, names)
    answer = connection.getresponse()
    result = answer.status, answer.read()
    connection.close()
    return result


def status(server: WebServer) -> dict[str, Any]:
    return json.loads(ask(server, "/status")[1])


def numbers_of(video: bytes) -> list[int]:
    """Which frames a video shows."""
    with av.open(io.BytesIO(video), "r") as container:
        return [number_of(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


class Viewer:
    """Reads /live.mp4 until it ends, or reads nothing before `thread` is started."""

    def __init__(self, server: WebServer, reading: bool = True) -> None:
        self.connection = socket.socket()
        if not reading:  # however large the system lets buffers grow, it takes little for this one
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        self.connection.connect(("127.0.0.1", server.access.port))
        self.connection.sendall(b"GET /live.mp4 HTTP/1.0\r\nHost: localhost\r\n\r\n")
        self.data = bytearray()
        self.thread = threading.Thread(target=self._read, daemon=True)
        if reading:
            self.thread.start()

    def _read(self) -> None:
        while part := self.connection.recv(1 << 16):
            self.data += part

    def body(self) -> bytes:
        self.thread.join(TIMEOUT_SECONDS)
        assert not self.thread.is_alive(), "the stream does not end"
        return bytes(self.data.partition(b"\r\n\r\n")[2])


def await_viewers(server: WebServer, count: int) -> None:
    await_that(lambda: status(server)["viewers"] == count, f"there are not {count} viewers")


def await_that(what: Callable[[], object], otherwise: str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not what():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)
