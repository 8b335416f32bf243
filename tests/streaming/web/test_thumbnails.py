"""The small pictures of blocks."""

from __future__ import annotations

import http.client
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.outputs.options import OutputOptions
from sana_stream.streaming.video_format import Metadata, StreamSpec
from sana_stream.streaming.web.live_feed import LiveFeed
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.server import WebServer
from sana_stream.streaming.web.status import RunStatus
from sana_stream.streaming.web.thumbnails import HEIGHT, KEPT, Thumbnails

from ..blocks import blocks, make_block, number_of, picture, pour
from ..http_client import VIDEO, ask, status, stream_of


@pytest.mark.parametrize("height", [32, 64, 128, 1080])
def test_picture_is_that_of_the_middle_of_the_block(height: int) -> None:
    frames = np.zeros((5, height, height * 2, 3), np.uint8)
    frames[2, :, :height] = (200, 40, 90)
    thumbnails = Thumbnails()
    thumbnails.add(7, frames)
    assert thumbnails.starts == (7,)
    file = thumbnails.find(7)
    assert file is not None
    found = np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).astype(int)
    assert found.shape[0] == min(height, HEIGHT)
    assert abs(found.shape[1] - 2 * found.shape[0]) <= 1
    quarter = found.shape[1] // 4
    assert np.abs(found[:, quarter] - (200, 40, 90)).max() < 24
    assert found[:, 3 * quarter].max() < 24


@pytest.mark.parametrize("state", ["growing", "finished", "continued"])
def test_pictures_of_earlier_blocks_are_decoded_from_the_recording(
    tmp_path: Path, state: str
) -> None:
    spec, options = StreamSpec(VIDEO, metadata=Metadata("A day")), OutputOptions()
    output = open_output(path := tmp_path / "a.mp4", spec, options)
    pour(output, blocks(5))
    if state == "finished":
        output.close()
    thumbnails = Thumbnails()
    thumbnails.add_earlier(path, 65)
    assert thumbnails.starts == (0, 17, 33, 49)
    if state == "continued":
        output.close()  # its index comes after the blocks were found
    thumbnails.add(65, make_block(4, 65, 16).frames)
    for start in thumbnails.starts[:-1]:
        file = thumbnails.find(start)
        assert file is not None
        assert number_of(np.asarray(Image.open(io.BytesIO(file)))) == start
        assert thumbnails.find(start) is file  # it is decoded once
    output.close()


def test_a_recording_that_is_gone_or_damaged_gives_no_pictures(tmp_path: Path) -> None:
    thumbnails = Thumbnails()
    for name, content in (("a.mp4", b"damaged"), ("a.mkv", b""), ("b.mp4", b"")):
        (tmp_path / name).write_bytes(content)
        thumbnails.add_earlier(tmp_path / name, 17)
    thumbnails.add_earlier(tmp_path / "c.mp4", 17)
    assert thumbnails.starts == ()
    pour(
        output := open_output(path := tmp_path / "d.mp4", StreamSpec(VIDEO), OutputOptions()),
        blocks(2),
    )
    output.close()
    whole = path.read_bytes()
    thumbnails.add_earlier(path, 33)
    path.write_bytes(whole[:200])
    assert thumbnails.find(17) is None
    path.unlink()
    assert thumbnails.find(0) is None
    assert thumbnails.starts == ()  # they are not named any more


def test_number_is_bounded_and_the_newest_are_complete() -> None:
    thumbnails, frames = Thumbnails(), picture(0)[None]
    for index in range(3000):
        thumbnails.add(16 * index, frames)
        assert len(thumbnails.starts) <= KEPT
    starts = thumbnails.starts
    newest = [16 * index for index in range(3000 - KEPT // 2, 3000)]
    assert list(starts[-len(newest) :]) == newest
    assert starts[0] == 0
    gaps = np.diff(starts)
    assert (gaps[:40] >= 16).all()
    assert thumbnails.find(16) is None
    thumbnails.clear()
    assert thumbnails.starts == ()


def test_pictures_are_served_and_kept_by_caches(current: StreamRegistry, server: WebServer) -> None:
    stream_of(current).status.on_block(make_block(0, 0, 17))
    now = status(server)
    assert now["thumbnails"] == [0]
    kept, other = (f"/thumbnails/0.jpg?v={v}" for v in (now["thumbnail_version"], "0"))
    for path, caching in ((kept, "immutable"), (other, "no-store")):
        connection = http.client.HTTPConnection("127.0.0.1", server.access.port, timeout=60)
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.read()[:2] == b"\xff\xd8"
        assert answer.headers["content-type"] == "image/jpeg"
        assert caching in ", ".join(answer.headers.get_all("cache-control") or [])
        connection.close()
    for path in ("/thumbnails/1.jpg", "/thumbnails/x.jpg", "/streams/1/thumbnails/-1.jpg"):
        assert ask(server, path)[0] == 404


def test_ended_streams_free_their_pictures() -> None:
    streams, first = StreamRegistry(), RunStatus(VIDEO)
    first.on_block(make_block(0, 0, 17))
    streams.begin(LiveFeed(VIDEO), LiveControl(), first)
    first.finish()
    assert first.thumbnails.starts == (0,)
    for _ in range(5):
        later = RunStatus(VIDEO)
        streams.begin(LiveFeed(VIDEO), LiveControl(), later)
        later.finish()
    streams.begin(LiveFeed(VIDEO), LiveControl(), RunStatus(VIDEO))
    assert first.thumbnails.starts == ()


def test_time_of_the_next_block_is_estimated() -> None:
    now = [10.0]
    found = RunStatus(VIDEO, clock=lambda: now[0])
    now[0] = 12.0
    assert found.snapshot().block_seconds is None
    assert found.snapshot().since_block_seconds == 2
    for index, moment in enumerate((20.0, 21.0, 22.5, 24.0)):
        now[0] = moment
        found.on_block(make_block(index, 16 * index, 16))
    now[0] = 24.5
    assert found.snapshot().block_seconds == 1.5
    assert found.snapshot().since_block_seconds == 0.5
