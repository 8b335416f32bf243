"""Viewers of /live.mp4: each goes at its own pace, none holds up the stream or fills memory."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

import pytest

from sana_stream.streaming.web.live_feed import LiveFeed, MediaSegment
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.server import WebServer

from ..blocks import blocks
from ..http_client import (
    TIMEOUT_SECONDS,
    Viewer,
    await_that,
    await_viewers,
    numbers_of,
    status,
    stream_of,
)

if TYPE_CHECKING:
    from sana_stream.engine.block import Block

MEGABYTE = 1 << 20


class Megabytes:
    """In the place of an encoder: a block's number, a megabyte of it."""

    init = b""

    def mime(self) -> str:
        return "video/mp4"

    def fragment(self, block: Block) -> bytes:
        return block.index.to_bytes(8) * (MEGABYTE // 8)


def numbers(viewer: Viewer) -> list[int]:
    """Which blocks a viewer has got, each of them whole."""
    body = viewer.body()
    assert len(body) % MEGABYTE == 0
    return [int.from_bytes(body[at : at + 8]) for at in range(0, len(body), MEGABYTE)]


def pieces_held() -> int:
    """How many megabytes live anywhere in this process."""
    pieces = (thing for thing in gc.get_objects() if type(thing) is MediaSegment)
    return sum(len(piece.data) == MEGABYTE for piece in pieces)


def await_newest(viewer: Viewer, feed: LiveFeed) -> None:
    """Wait until a viewer has the newest block: one that is counted may not have begun with it."""
    newest = feed.segments()[-1].data
    await_that(lambda: viewer.data.endswith(newest), "the newest block does not come")


def test_viewers_get_every_block_from_the_newest_on(
    current: StreamRegistry, server: WebServer
) -> None:
    source, feed = blocks(), stream_of(current).feed
    first = Viewer(server)
    await_viewers(server, 1)
    feed.write(next(source))
    await_newest(first, feed)
    feed.write(next(source))
    second = Viewer(server)
    await_viewers(server, 2)
    await_newest(second, feed)
    feed.write(next(source))
    feed.close()
    assert numbers_of(first.body()) == list(range(49))
    assert numbers_of(second.body()) == list(range(17, 49))


def test_viewers_that_take_nothing_delay_nobody_and_skip_ahead(
    current: StreamRegistry, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gc.collect()  # the feeds of earlier tests are part of reference cycles
    feed = stream_of(current).feed
    monkeypatch.setattr(feed, "_fragments", Megabytes())
    stalled = [Viewer(server, reading=False) for _ in range(4)]
    others = [Viewer(server) for _ in range(2)]
    await_viewers(server, 6)
    for block in blocks(40, size=1):
        feed.write(block)
        whole = (block.index + 1) << 20
        await_that(lambda n=whole: min(len(o.data) for o in others) >= n, "the other viewers wait")
    assert pieces_held() <= 12 + 2 * 6, "what is kept, and for each viewer one and the next"
    feed.close()
    for other in others:
        assert numbers(other) == list(range(40))
    for viewer in stalled:
        viewer.thread.start()
    for viewer in stalled:
        late = numbers(viewer)
        assert late == sorted(set(late))
        assert late[0] == 0
        assert late[-1] == 39, "it continues with the newest"
        assert len(late) < 35, "and has missed what was no longer kept"


def test_a_viewer_that_never_takes_anything_is_let_go(
    current: StreamRegistry,
    server: WebServer,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setattr("sana_stream.streaming.web.auth.SEND_SECONDS", 0.2)
    feed = stream_of(current).feed
    monkeypatch.setattr(feed, "_fragments", Megabytes())
    gc.disable()  # it may come late: no viewer may be counted until then
    request.addfinalizer(gc.enable)
    dead = [Viewer(server, reading=False) for _ in range(3)]
    await_viewers(server, 3)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    for block in blocks(size=1):  # until all that the system holds for them is full
        feed.write(block)
        if not status(server)["viewers"]:
            break
        assert time.monotonic() < deadline, "they are still waited for"
        time.sleep(0.02)
    for viewer in dead:
        viewer.connection.close()
