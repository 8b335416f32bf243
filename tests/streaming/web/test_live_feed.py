"""The feed of a page: blocks as fragments, the newest ones only."""

from __future__ import annotations

import asyncio

from sana_stream.streaming.containers.mp4_boxes import find, walk
from sana_stream.streaming.web.live_feed import LiveFeed

from ..blocks import blocks
from ..http_client import VIDEO


def test_fragments_stand_behind_one_beginning() -> None:
    feed = LiveFeed(VIDEO)
    for block in blocks(4):
        feed.write(block)
    beginnings = {LiveFeed(VIDEO).init for _ in range(3)} | {feed.init}
    assert len(beginnings) == 1
    times = []
    for piece in feed.segments():
        assert [box.kind for box in walk(piece.data)] == ["moof", "mdat"]
        times.append(int.from_bytes(find(piece.data, "moof", "traf", "tfdt")[4:]))
    assert times == [1024 * start for start in (0, 17, 33, 49)]
    assert feed.mime.startswith('video/mp4; codecs="avc1.64')


def test_only_the_newest_blocks_are_kept() -> None:
    feed = LiveFeed(VIDEO)
    for block in blocks(20, size=4):
        feed.write(block)
    assert [piece.number for piece in feed.segments()] == list(range(8, 20))
    assert feed.frames == 81


def test_target_duration_does_not_change() -> None:
    """Not when a longer block follows the first part, nor when that block is no longer kept."""
    planned, measured = LiveFeed(VIDEO, longest_block=5), LiveFeed(VIDEO)
    found = []
    for block in blocks(20, size=4):
        for feed in (planned, measured):
            feed.write(block)
        found.append((planned.target_duration, measured.target_duration))
    assert set(found) == {(5 / VIDEO.fps, 5 / VIDEO.fps)}
    assert len(planned.segments()) < 20
    assert LiveFeed(VIDEO, longest_block=5).target_duration == 5 / VIDEO.fps


def test_a_viewer_too_far_behind_goes_on_with_the_newest() -> None:
    feed = LiveFeed(VIDEO)
    for block in blocks(20, size=2):
        feed.write(block)
    feed.close()

    def after(number: int | None) -> int | None:
        piece = asyncio.run(feed.after(number))
        return piece and piece.number

    assert [after(n) for n in (None, 6, 7, 18, 19)] == [19, 19, 8, 19, None]
