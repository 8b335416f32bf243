"""The finished films of a server: what is listed, shown, sent and removed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from sana_stream.engine.block import Block
from sana_stream.streaming.run.films import RecordedFilms
from sana_stream.streaming.run.recordings import Recordings
from sana_stream.streaming.video_format import Metadata
from sana_stream.streaming.web.auth import AccessPolicy
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.server import WebServer

from ..blocks import make_block
from ..http_client import VIDEO, ask


@pytest.fixture
def server(recordings: Recordings) -> Iterator[WebServer]:
    films, streams = RecordedFilms(recordings), StreamRegistry()
    with WebServer(streams, AccessPolicy("127.0.0.1", 0, "c", "v"), films=films) as server:
        yield server


def blocks(*prompts: str) -> Iterator[Block]:
    start = 0
    for index, prompt in enumerate(prompts):
        yield make_block(index, start, 16 + (index == 0), prompt)
        start += 16 + (index == 0)


def record(recordings: Recordings, stream_id: int, *prompts: str, end: bool = True) -> Any:
    _, file = recordings.begin(stream_id, VIDEO, Metadata("A day"), lambda _: None)
    for block in blocks(*prompts):
        file.write(block)
    if end:
        file.close()
    return file


def answer(server: WebServer, path: str, token: str = "c") -> Any:
    mark = "&" if "?" in path else "?"
    code, content = ask(server, f"{path}{mark}token={token}")
    assert code == 200
    return json.loads(content)


def test_finished_films_are_listed_newest_first(
    recordings: Recordings, server: WebServer, tmp_path: Path
) -> None:
    assert answer(server, "/films") == {"films": [], "more": False, "may_delete": True}
    record(recordings, 1, "a <red> boat", "a <red> boat", "night & fog")
    record(recordings, 2, "a fox")
    running = record(recordings, 3, "a train", end=False)
    (tmp_path / "stream-0009.mp4").write_bytes(b"of another program")
    found = answer(server, "/films", "v")
    assert [film["id"] for film in found["films"]] == [2, 1]
    assert (found["more"], found["may_delete"]) == (False, False)
    film = found["films"][1]
    assert film["prompts"] == [
        {"seconds": 0, "prompt": "a <red> boat"},
        {"seconds": 33 / 16, "prompt": "night & fog"},
    ]
    assert (film["seconds"], film["width"], film["height"]) == (49 / 16, 96, 64)
    assert film["bytes"] == (tmp_path / "stream-0001.mp4").stat().st_size
    assert not film["may_branch"]
    running.close()
    assert [film["id"] for film in answer(server, "/films")["films"]] == [3, 2, 1]
    page = answer(server, "/films?limit=2")
    assert ([film["id"] for film in page["films"]], page["more"]) == ([3, 2], True)
    page = answer(server, "/films?before=2")
    assert ([film["id"] for film in page["films"]], page["more"]) == ([1], False)


def test_films_of_an_earlier_server_are_listed(recordings: Recordings, tmp_path: Path) -> None:
    record(recordings, 1, "a boat")
    recordings.close()
    later = Recordings(tmp_path, True, None)
    later.check()
    assert RecordedFilms(later).ids() == [1]
    later.close()


def test_films_are_sent_with_a_thumbnail(recordings: Recordings, server: WebServer) -> None:
    record(recordings, 1, "a boat")
    code, video = ask(server, "/films/1.mp4?token=v")
    assert (code, video[4:8]) == (200, b"ftyp")
    code, part = ask(server, "/films/1.mp4?token=v", Range="bytes=4-7")
    assert (code, part) == (206, b"ftyp")
    code, picture = ask(server, "/films/1.jpg?token=v")
    assert code == 200
    image = Image.open(BytesIO(picture))
    assert (image.format, image.size) == ("JPEG", (96, 64))
    assert np.asarray(image).std() > 1


def test_films_are_removed_by_those_who_direct(
    recordings: Recordings, server: WebServer, tmp_path: Path
) -> None:
    record(recordings, 1, "a boat")
    running = record(recordings, 2, "a fox", end=False)
    for path, token, code in (
        ("/films/1", "v", 403),
        ("/films/2", "c", 404),
        ("/films/3", "c", 404),
        ("/films/1", "c", 204),
        ("/films/1", "c", 404),
    ):
        assert ask(server, f"{path}?token={token}", method="DELETE")[0] == code
    assert not list(tmp_path.glob("stream-0001*"))
    running.close()
    with (tmp_path / "stream-0002.mp4").open("ab") as file:
        file.write(b"changed by another program")
    assert ask(server, "/films/2?token=c", method="DELETE")[0] == 204
    assert (tmp_path / "stream-0002.mp4").exists()
    assert answer(server, "/films")["films"] == []


def test_other_requests_are_refused(
    recordings: Recordings, server: WebServer, tmp_path: Path
) -> None:
    for path in ("/films/9.mp4", "/films/9.jpg", "/films/..%2f1.mp4", "/films/1.mkv"):
        assert ask(server, f"{path}?token=c")[0] == 404
    for query in (
        "limit=0",
        "limit=101",
        "limit=x",
        "limit=-1",
        "before=%C2%B2",
        "before=" + "9" * 50,
    ):
        assert ask(server, f"/films?{query}&token=c")[0] == 400
    assert ask(server, "/films")[0] == 401
    record(recordings, 1, "a boat")
    (tmp_path / "stream-0001.mp4").write_bytes(b"damaged")
    assert answer(server, "/films")["films"] == []
    assert ask(server, "/films/1.jpg?token=c")[0] == 404


def test_a_film_without_a_video_does_not_hide_the_others(
    recordings: Recordings, server: WebServer, tmp_path: Path
) -> None:
    for stream_id in (1, 2):
        record(recordings, stream_id, "a boat")
    with av.open(str(tmp_path / "stream-0002.mp4"), "w", format="mp4") as container:
        sound = container.add_stream("aac", 16000)
        sound.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux([*sound.encode(frame), *sound.encode()])
    assert [film["id"] for film in answer(server, "/films")["films"]] == [1]
    assert ask(server, "/films/2.jpg?token=c")[0] == 404
