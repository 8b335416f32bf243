"""The web server over real connections: the stream, directing it, who may."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import pytest

from sana_stream.streaming.access import Access, Role
from sana_stream.streaming.board import Board
from sana_stream.streaming.boxes import find, walk
from sana_stream.streaming.control import Changes, Control
from sana_stream.streaming.errors import TargetError
from sana_stream.streaming.feed import LiveFeed
from sana_stream.streaming.format import VideoFormat
from sana_stream.streaming.open import open_sink
from sana_stream.streaming.stage import Show, Stage
from sana_stream.streaming.web_server import WebServer

from .blocks import blocks, number_of

if TYPE_CHECKING:
    from sana_stream.engine.block import Block

VIDEO = VideoFormat(96, 64, 16)


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.begin(LiveFeed(VIDEO), Control(), Board(VIDEO, "A day"))
    return stage


@pytest.fixture
def server(stage: Stage) -> Iterator[WebServer]:
    with WebServer(stage, Access.on("127.0.0.1", 0)) as server:
        yield server


def show_of(stage: Stage) -> Show:
    assert stage.show
    return stage.show


def ask(
    server: WebServer,
    path: str,
    body: str | bytes | None = None,
    **headers: str,
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.access.port, timeout=10)
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    connection.request("GET" if body is None else "POST", path, body, names)
    answer = connection.getresponse()
    result = answer.status, answer.read()
    connection.close()
    return result


def status(server: WebServer) -> dict[str, Any]:
    return json.loads(ask(server, "/status")[1])


class Viewer:
    """Reads /live.mp4 until it ends, or reads nothing at all."""

    def __init__(self, server: WebServer, reading: bool = True) -> None:
        self.connection = socket.create_connection(("127.0.0.1", server.access.port))
        self.connection.sendall(b"GET /live.mp4 HTTP/1.0\r\nHost: localhost\r\n\r\n")
        self.data = bytearray()
        self.thread = threading.Thread(target=self._read, daemon=True)
        if reading:
            self.thread.start()

    def _read(self) -> None:
        while part := self.connection.recv(1 << 16):
            self.data += part

    def body(self) -> bytes:
        self.thread.join(10)
        return bytes(self.data.partition(b"\r\n\r\n")[2])

    def numbers(self) -> list[int]:
        body = self.body()
        assert len(body) % (1 << 20) == 0
        return [int.from_bytes(body[at : at + 8]) for at in range(0, len(body), 1 << 20)]

    def frames(self) -> list[int]:
        with av.open(io.BytesIO(self.body()), "r") as container:
            return [number_of(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def await_viewers(server: WebServer, count: int) -> None:
    deadline = time.monotonic() + 10
    while status(server)["viewers"] != count and time.monotonic() < deadline:
        time.sleep(0.02)
    assert status(server)["viewers"] == count


def test_fragments_stand_behind_one_beginning() -> None:
    feed = LiveFeed(VIDEO)
    for block in blocks(4):
        feed.write(block)
    beginnings = {LiveFeed(VIDEO).init for _ in range(3)} | {feed.init}
    assert len(beginnings) == 1
    times = []
    for piece in feed.pieces():
        assert [box.kind for box in walk(piece.data)] == ["moof", "mdat"]
        times.append(int.from_bytes(find(piece.data, "moof", "traf", "tfdt")[4:]))
    assert times == [1024 * start for start in (0, 17, 33, 49)]
    assert feed.mime.startswith('video/mp4; codecs="avc1.64')


def test_only_the_newest_blocks_are_kept() -> None:
    feed = LiveFeed(VIDEO)
    for block in blocks(20, size=4):
        feed.write(block)
    assert [piece.number for piece in feed.pieces()] == list(range(8, 20))
    assert feed.frames == 81


def test_viewers_get_every_block_from_the_newest_on(stage: Stage, server: WebServer) -> None:
    source, feed = blocks(), show_of(stage).feed
    first = Viewer(server)
    await_viewers(server, 1)
    feed.write(next(source))
    feed.write(next(source))
    second = Viewer(server)
    await_viewers(server, 2)
    feed.write(next(source))
    feed.close()
    assert first.frames() == list(range(49))
    assert second.frames() == list(range(17, 49))


class Megabytes:
    """In the place of an encoder: a block's number, a megabyte of it."""

    init = b""

    def mime(self) -> str:
        return "video/mp4"

    def fragment(self, block: Block) -> bytes:
        return block.index.to_bytes(8) * (1 << 17)


def test_a_viewer_that_takes_nothing_delays_nobody(
    stage: Stage, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = show_of(stage).feed
    monkeypatch.setattr(feed, "_fragments", Megabytes())
    stalled, other = Viewer(server, reading=False), Viewer(server)
    await_viewers(server, 2)
    for block in blocks(60, size=1):
        feed.write(block)
        deadline = time.monotonic() + 10
        while len(other.data) < (block.index + 1) << 20 and time.monotonic() < deadline:
            time.sleep(0.002)
        assert len(other.data) > block.index << 20, "the other viewer waits"
    feed.close()
    assert other.numbers() == list(range(60))
    stalled.thread.start()
    late = stalled.numbers()
    assert late == sorted(set(late))
    assert late[0] == 0
    assert late[-1] == 59, "it goes on with the newest"
    assert len(late) < 40, "and has missed what was no longer kept"


def test_a_viewer_too_far_behind_goes_on_with_the_newest() -> None:
    feed = LiveFeed(VIDEO)
    for block in blocks(20, size=2):
        feed.write(block)
    feed.close()

    def after(number: int | None) -> int | None:
        piece = asyncio.run(feed.after(number))
        return piece and piece.number

    assert [after(n) for n in (None, 6, 7, 18, 19)] == [19, 19, 8, 19, None]


def test_a_playlist_for_players(stage: Stage, server: WebServer) -> None:
    assert ask(server, "/live.m3u8")[0] == 503
    feed = show_of(stage).feed
    for block in blocks(14, size=4):
        feed.write(block)
    code, text = ask(server, "/live.m3u8")
    assert code == 200
    assert b"#EXT-X-MEDIA-SEQUENCE:2\n" in text
    assert b"ENDLIST" not in text
    names = [line for line in text.decode().split("\n") if line.startswith("segment")]
    pieces = [ask(server, f"/{name}")[1] for name in names]
    whole = ask(server, "/init.mp4")[1] + b"".join(pieces)
    with av.open(io.BytesIO(whole), "r") as container:
        frames = [number_of(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    assert frames == list(range(9, 57))
    assert ask(server, "/segment0.m4s")[0] == 404
    feed.close()
    assert ask(server, "/live.m3u8")[1].endswith(b"#EXT-X-ENDLIST\n")


def test_the_playlist_in_a_player(stage: Stage, server: WebServer) -> None:
    feed = show_of(stage).feed
    for block in blocks(3):
        feed.write(block)
    feed.close()
    with av.open(f"http://127.0.0.1:{server.access.port}/live.m3u8", "r") as container:
        frames = [number_of(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    assert frames == list(range(49))


def test_prompts_and_commands(stage: Stage, server: WebServer) -> None:
    control = show_of(stage).control
    code, answer = ask(server, "/prompt", "a red  fox\n")
    assert (code, json.loads(answer)) == (202, {"prompt": "a red fox", "from_frame_or_later": 0})
    assert status(server)["waiting_prompt"] == "a red fox"
    json_body = json.dumps({"text": "füchse"})
    assert ask(server, "/prompt", json_body, Content_Type="application/json")[0] == 202
    assert ask(server, "/command", "/seed 9")[0] == 202
    assert control.take() == Changes("füchse", None, 9)
    assert ask(server, "/command", "/pause")[0] == 202
    assert status(server)["state"] == "paused"
    assert ask(server, "/command", "/resume")[0] == 202
    assert status(server)["state"] == "starting"
    assert not control.stop.is_set()
    assert ask(server, "/command", "/stop")[0] == 202
    assert control.stop.is_set()


@pytest.mark.parametrize(
    ("path", "body", "kind", "code"),
    [
        ("/prompt", "", "text/plain", 400),
        ("/prompt", b"\xff\xfe", "text/plain", 400),
        ("/prompt", "not json", "application/json", 400),
        ("/prompt", '{"texts": "x"}', "application/json", 400),
        ("/prompt", '{"text": 5}', "application/json", 400),
        ("/prompt", "x" * 5000, "text/plain", 400),
        ("/prompt", "x" * 70000, "text/plain", 413),
        ("/command", "fox", "text/plain", 400),
        ("/command", "/dance", "text/plain", 400),
        ("/streams", '{"story": "x"}', "application/json", 404),
        ("/status", "x", "text/plain", 405),
        ("/../../etc/passwd", None, "text/plain", 404),
        ("/page.py", None, "text/plain", 404),
        ("/segment..%2f1.m4s", None, "text/plain", 404),
        ("/download", None, "text/plain", 404),
    ],
)
def test_requests_that_are_refused(
    stage: Stage, server: WebServer, path: str, body: str | bytes | None, kind: str, code: int
) -> None:
    assert ask(server, path, body, Content_Type=kind)[0] == code
    assert show_of(stage).control.take() == Changes()


def test_foreign_pages_and_foreign_names_are_refused(stage: Stage, server: WebServer) -> None:
    port = server.access.port
    assert ask(server, "/command", "/stop", Origin="http://evil.example")[0] == 403
    assert ask(server, "/command", "/stop", Origin="null")[0] == 403
    assert ask(server, "/command", "/stop", Host="evil.example")[0] == 400
    assert ask(server, "/command", "/stop", Host=f"127.0.0.1.evil.example:{port}")[0] == 400
    assert not show_of(stage).control.stop.is_set()
    assert ask(server, "/prompt", "x", Origin=f"http://127.0.0.1:{port}")[0] == 202
    assert ask(server, "/status", Host=f"localhost:{port}")[0] == 200
    assert ask(server, "/status", Host="[::1]")[0] == 200


def test_elsewhere_a_token_is_needed_and_says_what_one_may(stage: Stage) -> None:
    with WebServer(stage, Access.on("0.0.0.0", 0)) as server:
        access = server.access
        assert access.direct != access.watch
        assert ask(server, "/status")[0] == 401
        assert ask(server, "/status?token=wrong")[0] == 401
        assert ask(server, "/live.m3u8?token=")[0] == 401
        assert ask(server, f"/status?token={access.watch}")[0] == 200
        assert ask(server, f"/command?token={access.watch}", "/stop")[0] == 403
        assert ask(server, f"/prompt?token={access.watch}", "fox")[0] == 403
        assert not show_of(stage).control.stop.is_set()
        cookie = f"{access.cookie}={access.direct}"
        assert ask(server, "/prompt", "fox", Cookie=cookie)[0] == 202
        assert access.url(Role.WATCH).endswith(f"/?token={access.watch}")
        # Opened in a browser, the token moves from the address into a cookie.
        connection = http.client.HTTPConnection("127.0.0.1", access.port, timeout=10)
        connection.request("GET", f"/?token={access.direct}")
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("location")) == (303, "/")
        kept = answer.getheader("set-cookie", "")
        assert kept.startswith(cookie)
        assert "HttpOnly" in kept
        assert "SameSite=strict" in kept
        connection.close()


def test_a_body_that_never_comes_is_not_waited_for(
    stage: Stage, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sana_stream.streaming.web_body.BODY_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", server.access.port), 10) as connection:
        connection.sendall(
            b"POST /prompt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab"
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")
    assert show_of(stage).control.take() == Changes()


def test_a_request_that_never_comes_is_not_waited_for(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sana_stream.streaming.web_server.HEADER_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", server.access.port), 10) as connection:
        connection.sendall(b"GET /status HTTP/1.1\r\nHost: local")
        assert connection.recv(1000) == b""
    assert ask(server, "/status")[0] == 200


def test_what_was_made_so_far_can_be_had(tmp_path: Path) -> None:
    stage, path = Stage(), tmp_path / "a day.mp4"
    stage.begin(LiveFeed(VIDEO), Control(), Board(VIDEO), path)
    sink = open_sink(str(path), VIDEO)
    with WebServer(stage, Access.on("127.0.0.1", 0)) as server:
        for block in blocks(2):
            sink.write(block)
        code, data = ask(server, "/download")
    sink.close()
    assert code == 200
    with av.open(io.BytesIO(data), "r") as container:
        assert len(list(container.decode(video=0))) == 33


def test_before_the_first_stream_there_is_a_page() -> None:
    with WebServer(Stage(), Access.on("127.0.0.1", 0)) as server:
        code, page = ask(server, "/")
        assert code == 200
        assert b"/page.js" in page
        for path in ("/page.js", "/page.css", "/player.js"):
            assert ask(server, path)[0] == 200
        assert status(server) == {"state": "empty", "may_direct": True, "may_begin": False}
        assert ask(server, "/live.mp4")[0] == 503


def test_the_page_asks_for_nothing_from_elsewhere(server: WebServer) -> None:
    for path in ("/", "/page.js", "/page.css", "/player.js"):
        content = ask(server, path)[1].decode()
        assert "http://" not in content
        assert "https://" not in content
        assert "innerHTML" not in content


def test_a_taken_port_is_said_at_once(server: WebServer) -> None:
    with pytest.raises(TargetError, match=r"port \d+ on 127\.0\.0\.1: address already in use"):
        WebServer(Stage(), Access.on("127.0.0.1", server.access.port))
    with pytest.raises(TargetError, match="port 70000: must be between"):
        Access.on("127.0.0.1", 70000)
