"""Malformed requests: each is answered or disconnected, none harms the server."""

from __future__ import annotations

import gc
import http.client
import json
import re
import socket
import unicodedata
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sana_stream.streaming.control.job_queue import JobQueue
from sana_stream.streaming.control.live_control import PROMPT_LIMIT, LiveControl
from sana_stream.streaming.web.auth import AccessPolicy
from sana_stream.streaming.web.live_feed import LiveFeed
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.server import WebServer
from sana_stream.streaming.web.status import RunStatus

from ..http_client import TIMEOUT_SECONDS, VIDEO, ask, status, stream_of

MEBIBYTE = 1 << 20
EXAMPLES = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)
METHODS = st.sampled_from(
    ["GET", "POST", "HEAD", "DELETE", "OPTIONS", "PUT", "TRACE", "BREW", "get"]
)
PATHS = st.sampled_from(
    [
        "/",
        "/page.js",
        "/status",
        "/status/",
        "/prompt",
        "/command",
        "/streams",
        "/streams/0",
        "/download",
        "/live.m3u8",
        "/init.mp4",
        "/segment0.m4s",
        "/segment%00.m4s",
        "/../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//status",
        "*",
        "http://x/",
        "/streams/99999999999999999999",
        "/page.py",
        "/?token=x&token=y",
        "/status?%ff=%00",
    ]
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "Host",
            "Range",
            "If-Range",
            "Content-Type",
            "Content-Length",
            "Transfer-Encoding",
            "Cookie",
            "Origin",
            "Expect",
            "Connection",
            "Upgrade",
            "Authorization",
            "Accept",
            "Content-Encoding",
            "Sec-Fetch-Site",
            "X",
        ]
    ),
    st.one_of(
        st.sampled_from(
            [
                "localhost",
                "bytes=0-",
                "bytes=-0",
                "bytes=9-1",
                "application/json",
                "text/plain; charset=utf-16",
                "multipart/form-data",
                "chunked",
                "gzip, chunked",
                "5",
                "0",
                "-1",
                "99999999999",
                "9" * 400,
                "5, 6",
                "100-continue",
                "close",
                "websocket",
                "cross-site",
                "x" * 9000,
                "sana_stream_1=" + "\\377" * 50,
                "",
            ]
        ),
        st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40),
    ),
    max_size=5,
)
CHUNKED = st.sampled_from(
    [
        b"",
        b"0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"zz\r\n",
        b"ffffffffffffffff\r\nx",
        b"5\r\nhel",
        b"-1\r\n",
    ]
)
BODIES = st.one_of(st.binary(max_size=200), CHUNKED, st.just(b"x" * 70_000))
JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**30), 10**30),
        st.floats(),
        st.text(max_size=30),
        st.sampled_from(
            ["/branch x", "/seed 5", "/back 1", "\x1b[2J", "\u202e", "\ud800", "a\x00b"]
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(
                st.sampled_from(["command", "prompt", "story", "seed", "seconds"]),
                st.text(max_size=5),
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)
RAW_JSON = st.sampled_from(
    [
        b"[" * 30_000,
        b'{"prompt":' * 5000,
        b'{"prompt": ' + b"9" * 50_000 + b"}",
        b'{"command": "/pause", "command": "/stop"}',
        b'{"prompt": "a", "prompt": "b"}',
        b'{"story": "a", "seed": 1, "seed": 2}',
        b'{"story": "a", "seconds": NaN}',
        b'{"story": "a", "seconds": 1e999}',
        b'{"story": "a", "seconds": -Infinity}',
        b'{"story": "a", "seed": 1e30}',
        b'{"story": "a", "seed": 1.0}',
        b'{"command": "\\ud800"}',
        b'{"command": "\xff"}',
        b'\xef\xbb\xbf{"command": "bom"}',
        b'"prompt"',
        b"",
        b"null",
    ]
)


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[tuple[WebServer, StreamRegistry]]:
    current, queue = StreamRegistry(), JobQueue()
    current.begin(LiveFeed(VIDEO), LiveControl(), RunStatus(VIDEO, "a \x1b[2J <b>\udcff title"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sana_stream.streaming.web.server.HEADER_SECONDS", 0.3)
        patched.setattr("sana_stream.streaming.web.request_body.BODY_SECONDS", 0.3)
        with WebServer(current, AccessPolicy.on("127.0.0.1", 0), queue) as server:
            ask(server, "/status")
            gc.collect()
            before = psutil.Process().memory_info().rss
            yield server, current
            assert status(server)["title"] == "a \x1b[2J <b>\udcff title"
            assert len(queue.jobs()) <= 16 + 32
            grown = psutil.Process().memory_info().rss - before
            assert grown < 150 * MEBIBYTE, "memory grows with what is sent"


def answers_to(server: WebServer, data: bytes) -> list[int]:
    """The statuses of whatever comes back until the server closes, or waits for more."""
    with socket.create_connection(("127.0.0.1", server.access.port), TIMEOUT_SECONDS) as connection:
        got = b""
        with suppress(ConnectionError):
            connection.sendall(data)
        with suppress(ConnectionError):
            while part := connection.recv(1 << 16):
                got += part
    return [int(status) for status in re.findall(rb"(?:^|\n)HTTP/1\.1 (\d{3})", got)]


@EXAMPLES
@given(st.one_of(st.binary(max_size=300), st.binary(max_size=60).map(lambda b: b"GET " + b)))
@example(b"GET /" + b"a" * 20_000)
@example(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000)
@example(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000)
@example(b"POST /prompt HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
def test_bytes_that_are_no_request(fuzzed: tuple[WebServer, StreamRegistry], data: bytes) -> None:
    assert all(code in (400, 414, 431, 501, 404) for code in answers_to(fuzzed[0], data))


@EXAMPLES
@given(METHODS, PATHS, HEADERS, BODIES)
def test_requests_that_are_put_together_badly(
    fuzzed: tuple[WebServer, StreamRegistry],
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
) -> None:
    server, _ = fuzzed
    lines = [f"{method} {path} HTTP/1.1", *(f"{n}: {t}" for n, t in headers.items())]
    if "Host" not in headers:
        lines.append("Host: localhost")
    request = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
    assert all(code < 500 or code in (501, 503) for code in answers_to(server, request))


@EXAMPLES
@given(
    st.sampled_from(["/prompt", "/command", "/streams"]), st.one_of(JSON.map(json.dumps), RAW_JSON)
)
def test_json_of_any_kind(
    fuzzed: tuple[WebServer, StreamRegistry], path: str, body: str | bytes
) -> None:
    server, current = fuzzed
    code, answer = ask(server, path, body, Content_Type="application/json")
    assert code in (201, 202, 400, 503)
    if code >= 400:
        assert answer.count(b"\n") == 1
        assert answer.strip().decode().isprintable()
    changes = stream_of(current).control.drain()
    assert len(changes.prompt or "") <= PROMPT_LIMIT


@EXAMPLES
@given(st.text(max_size=200))
@example("/branch " + "../" * 30)
@example("/seed " + "9" * 60_000)
@example("/back ٣")
def test_lines_of_any_kind(fuzzed: tuple[WebServer, StreamRegistry], line: str) -> None:
    server, current = fuzzed
    data = line.encode("utf-8", "surrogatepass")
    for path in ("/prompt", "/command"):
        assert ask(server, path, data)[0] in (202, 400)
    changes = stream_of(current).control.drain()
    for text in (changes.prompt, changes.negative):
        assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in text or "")


def test_methods_that_are_not_there_are_told_which_are(
    fuzzed: tuple[WebServer, StreamRegistry],
) -> None:

    for path, allowed in (
        ("/status", "GET, HEAD"),
        ("/prompt", "POST"),
        ("/streams", "GET, HEAD, POST"),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", fuzzed[0].access.port)
        connection.request("PUT", path)
        answer = connection.getresponse()
        assert answer.status == 405
        assert ", ".join(sorted((answer.getheader("allow") or "").split(", "))) == allowed
        connection.close()
