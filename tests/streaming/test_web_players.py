"""What players and scripts fetch from the server: playlist, headers, the recording so far."""

from __future__ import annotations

import asyncio
from pathlib import Path

import av
import pytest

from sana_stream.streaming.access import Access
from sana_stream.streaming.board import Board
from sana_stream.streaming.control import Control
from sana_stream.streaming.feed import LiveFeed
from sana_stream.streaming.open import open_sink
from sana_stream.streaming.stage import Stage
from sana_stream.streaming.web_download import SoFarResponse
from sana_stream.streaming.web_server import WebServer

from .asking import VIDEO, ask, numbers_of, show_of
from .blocks import blocks, number_of


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
    assert numbers_of(ask(server, "/init.mp4")[1] + b"".join(pieces)) == list(range(9, 57))
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


def test_asking_for_headers_alone_does_not_wait_for_the_end(server: WebServer) -> None:
    assert ask(server, "/live.mp4", method="HEAD") == (200, b"")


def test_what_was_made_so_far_can_be_had(tmp_path: Path) -> None:
    stage, path = Stage(), tmp_path / "a day & “more”.mp4"
    stage.begin(LiveFeed(VIDEO), Control(), Board(VIDEO), path)
    sink = open_sink(str(path), VIDEO)
    with WebServer(stage, Access.on("127.0.0.1", 0)) as server:
        for block in blocks(2):
            sink.write(block)
        code, data = ask(server, "/download")
        sink.close()
        path.unlink()
        assert ask(server, "/download")[0] == 404
    assert code == 200
    assert numbers_of(data) == list(range(33))


def test_a_download_ends_where_the_recording_stood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the recording grows, and is completed, while it is sent."""
    monkeypatch.setattr("sana_stream.streaming.web_download._CHUNK", 600)
    path, source = tmp_path / "a.mp4", blocks()
    sink = open_sink(str(path), VIDEO)
    for _ in range(3):
        sink.write(next(source))
    answer = SoFarResponse(path)
    for _ in range(3):
        sink.write(next(source))
    sink.close()

    async def sent() -> list[bytes]:
        return [bytes(part) async for part in answer.body_iterator]  # type: ignore[arg-type]

    parts = asyncio.run(sent())
    assert len(parts) > 3
    assert answer.headers["content-length"] == str(sum(map(len, parts)))
    assert numbers_of(b"".join(parts)) == list(range(49))
