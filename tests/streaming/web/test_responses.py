"""What players and scripts fetch from the server: playlist, headers, the recording so far."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import socket
from collections.abc import AsyncIterator, Iterator
from http.client import HTTPMessage
from pathlib import Path
from threading import Event, Thread

import av
import psutil
import pytest

from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.video_format import StreamSpec
from sana_stream.streaming.web.auth import AccessPolicy
from sana_stream.streaming.web.live_feed import LiveFeed
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.responses import GrowingFileResponse, RecordedPart
from sana_stream.streaming.web.server import WebServer
from sana_stream.streaming.web.status import RunStatus

from ..blocks import blocks, number_of
from ..http_client import TIMEOUT_SECONDS, VIDEO, ask, await_that, numbers_of, stream_of


def test_a_playlist_for_players(current: StreamRegistry, server: WebServer) -> None:
    assert ask(server, "/live.m3u8")[0] == 503
    feed = stream_of(current).feed
    for block in blocks(14, size=4):
        feed.write(block)
    code, text = ask(server, "/live.m3u8")
    assert code == 200
    assert b"#EXT-X-MEDIA-SEQUENCE:2\n" in text
    assert b"ENDLIST" not in text
    names = [line for line in text.decode().split("\n") if line.startswith("segment")]
    pieces = [ask(server, f"/{name}")[1] for name in names]
    assert numbers_of(ask(server, "/init.mp4")[1] + b"".join(pieces)) == list(range(9, 57))
    assert ask(server, "/segment0.m4s")[0] == 404
    feed.close()
    assert ask(server, "/live.m3u8")[1].endswith(b"#EXT-X-ENDLIST\n")


def test_the_playlist_in_a_player(current: StreamRegistry, server: WebServer) -> None:
    feed = stream_of(current).feed
    for block in blocks(3):
        feed.write(block)
    feed.close()
    with av.open(f"http://127.0.0.1:{server.access.port}/live.m3u8", "r") as container:
        frames = [number_of(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    assert frames == list(range(49))


def test_asking_for_headers_alone_does_not_wait_for_the_end(server: WebServer) -> None:
    assert ask(server, "/live.mp4", method="HEAD") == (200, b"")


def test_what_was_made_so_far_can_be_had(tmp_path: Path) -> None:
    current, path = StreamRegistry(), tmp_path / "a day & “more”.mp4"
    current.begin(LiveFeed(VIDEO), LiveControl(), RunStatus(VIDEO), path)
    output = open_output(str(path), StreamSpec(VIDEO))
    with WebServer(current, AccessPolicy.on("127.0.0.1", 0)) as server:
        for block in blocks(2):
            output.write(block)
        code, data = ask(server, "/download")
        output.close()
        path.unlink()
        assert ask(server, "/download")[0] == 404
    assert code == 200
    assert numbers_of(data) == list(range(33))


def test_a_download_ends_where_the_recording_stood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the recording grows, and is completed, while it is sent."""
    monkeypatch.setattr("sana_stream.streaming.web.responses._CHUNK", 600)
    path, source = tmp_path / "a.mp4", blocks()
    output = open_output(str(path), StreamSpec(VIDEO))
    for _ in range(3):
        output.write(next(source))
    answer = GrowingFileResponse(path)
    for _ in range(3):
        output.write(next(source))
    output.close()

    async def sent() -> list[bytes]:
        return [bytes(part) async for part in answer.body_iterator]  # type: ignore[arg-type]

    parts = asyncio.run(sent())
    assert len(parts) > 3
    assert answer.headers["content-length"] == str(sum(map(len, parts)))
    assert numbers_of(b"".join(parts)) == list(range(49))


FILM = bytes(range(256)) * 4000


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(FILM)
    return path


@pytest.fixture
def downloads(film: Path) -> Iterator[tuple[WebServer, RunStatus]]:
    current, run_status = StreamRegistry(), RunStatus(VIDEO)
    current.begin(LiveFeed(VIDEO), LiveControl(), run_status, film)
    with WebServer(current, AccessPolicy.on("127.0.0.1", 0)) as server:
        yield server, run_status


def fetch(server: WebServer, method: str = "GET", **headers: str) -> tuple[int, HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(
        "127.0.0.1", server.access.port, timeout=TIMEOUT_SECONDS
    )
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    connection.request(method, "/download", headers=names)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def test_concurrent_downloads_do_not_exceed_the_limit(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the file of the first one is opened; a download that ends leaves room."""
    monkeypatch.setattr("sana_stream.streaming.web.server.connection_limit", lambda: 16)
    open_file, opening, go = RecordedPart.at, [], Event()

    def opened(path: Path, complete: bool) -> RecordedPart:
        opening.append(path)
        assert go.wait(TIMEOUT_SECONDS)
        return open_file(path, complete)

    monkeypatch.setattr(RecordedPart, "at", opened)
    current, codes = StreamRegistry(), []
    current.begin(LiveFeed(VIDEO), LiveControl(), RunStatus(VIDEO), film)
    with WebServer(current, AccessPolicy.on("127.0.0.1", 0)) as server:
        threads = [
            Thread(target=lambda: codes.append(fetch(server)[0]), daemon=True) for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        await_that(lambda: len(opening) + len(codes) == 5, "a request is lost")
        assert (len(opening), codes) == (2, [503] * 3)
        go.set()
        for thread in threads:
            thread.join(TIMEOUT_SECONDS)
        assert sorted(codes) == [200, 200, 503, 503, 503]
        film.unlink()
        for _ in range(3):
            await_that(lambda: fetch(server)[0] == 404, "an error keeps its slot")


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-", (0, len(FILM))),
        ("bytes=0-0", (0, 1)),
        ("bytes=300000-300009", (300_000, 300_010)),
        ("bytes=262000-262300", (262_000, 262_301)),
        ("bytes=-5", (len(FILM) - 5, len(FILM))),
        (f"bytes=-{'9' * 18}", (0, len(FILM))),
        (f"Bytes = 9 - {'9' * 18}", (9, len(FILM))),
        ("bytes=-0", "none"),
        (f"bytes={len(FILM)}-", "none"),
        (f"bytes={'9' * 19}-", "none"),
        ("bytes=0-1,4-5", "whole"),
        ("bytes=9-1", "whole"),
        ("bytes=-", "whole"),
        ("bytes=x-y", "whole"),
        ("bytes=-1-2", "whole"),
        ("pages=1-2", "whole"),
        (f"bytes={'9' * 5000}-", "whole"),
        ("", "whole"),
    ],
)
def test_parts_of_a_recording(
    downloads: tuple[WebServer, RunStatus], finished: bool, asked: str, part: tuple[int, int] | str
) -> None:
    server, run_status = downloads
    if finished:
        run_status.finish()
    for method in ("GET", "HEAD"):
        code, headers, content = fetch(server, method, Range=asked)
        if part == "none":
            assert (code, headers["content-range"]) == (416, f"bytes */{len(FILM)}")
            continue
        begin, end = (0, len(FILM)) if isinstance(part, str) else part
        assert code == (200 if part == "whole" else 206)
        assert headers["content-length"] == str(end - begin)
        assert headers["accept-ranges"] == "bytes"
        assert content == (FILM[begin:end] if method == "GET" else b"")
        if code == 206:
            assert headers["content-range"] == f"bytes {begin}-{end - 1}/{len(FILM)}"


def test_a_part_goes_on_with_the_same_recording_only(
    downloads: tuple[WebServer, RunStatus], film: Path
) -> None:
    server, run_status = downloads
    assert fetch(server)[1]["etag"] is None, "it may still change"
    assert fetch(server, Range="bytes=5-", If_Range='"x"')[0] == 200
    run_status.finish()
    tag = fetch(server, "HEAD")[1]["etag"]
    assert fetch(server, Range="bytes=5-", If_Range=tag)[0] == 206
    assert fetch(server, Range="bytes=5-", If_Range=f"W/{tag}")[0] == 200
    film.write_bytes(FILM + b"x")
    assert fetch(server, Range="bytes=5-", If_Range=tag)[0] == 200


def test_headers_alone_are_had_without_reading_the_recording(
    downloads: tuple[WebServer, RunStatus], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> bytes:
        raise AssertionError("it is read")

    monkeypatch.setattr("sana_stream.streaming.web.responses.RecordedPart.part", read)
    code, headers, _ = fetch(downloads[0], "HEAD")
    assert (code, headers["content-length"]) == (200, str(len(FILM)))


def test_a_removed_recording_is_not_kept_by_those_who_fetch_it(
    tmp_path: Path, downloads: tuple[WebServer, RunStatus]
) -> None:
    """No descriptor holds it while they take nothing; what is left of it is not sent then."""
    server, film = downloads[0], tmp_path / "film.mp4"
    with film.open("r+b") as file:
        file.truncate(256 << 20)  # more than the system buffers for a connection
    with socket.create_connection(("127.0.0.1", server.access.port), TIMEOUT_SECONDS) as connection:
        connection.sendall(b"GET /download HTTP/1.1\r\nHost: localhost\r\n\r\n")
        got = len(connection.recv(1000))
        film.unlink()
        open_files = psutil.Process().open_files()
        assert not any(file.path.startswith(str(film)) for file in open_files)
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(1 << 20):
                got += len(part)
    assert got < 128 << 20
    assert fetch(server)[0] == 404


def test_a_removed_recording_takes_those_along_who_take_nothing(
    tmp_path: Path, downloads: tuple[WebServer, RunStatus], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = downloads[0]
    monkeypatch.setattr("sana_stream.streaming.web.responses._content", sent_and_broken)
    with socket.create_connection(("127.0.0.1", server.access.port), TIMEOUT_SECONDS) as connection:
        connection.sendall(b"GET /download HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(1000)
        await_that(lambda: server._connections.count == 0, "the connection is kept")


async def sent_and_broken(*_: object) -> AsyncIterator[bytes]:
    """A part, and then an error."""
    yield bytes(len(FILM) // 2)
    raise FileNotFoundError(2, "the recording was removed")


def test_downloads_that_nobody_takes_end(
    tmp_path: Path, downloads: tuple[WebServer, RunStatus], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sana_stream.streaming.web.auth.SEND_SECONDS", 0.2)
    server = downloads[0]
    with (tmp_path / "film.mp4").open("r+b") as file:
        file.truncate(256 << 20)
    with contextlib.ExitStack() as opened:
        for _ in range(3):
            address = ("127.0.0.1", server.access.port)
            connection = opened.enter_context(socket.create_connection(address, TIMEOUT_SECONDS))
            connection.sendall(b"GET /download HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await_that(lambda: server._connections.count >= 3, "they do not come")
        await_that(lambda: server._connections.count == 0, "they are still waited for")


def test_what_is_no_file_is_no_recording(
    tmp_path: Path, downloads: tuple[WebServer, RunStatus]
) -> None:
    film = tmp_path / "film.mp4"
    film.unlink()
    os.mkfifo(film)
    assert fetch(downloads[0])[0] == 404
    film.unlink()
    film.mkdir()
    assert fetch(downloads[0])[0] == 404
