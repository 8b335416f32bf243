"""The feed of a page: blocks as fragments, the newest ones only."""

from __future__ import annotations

import asyncio

from sana_stream.streaming.containers.mp4_boxes import find, walk
from sana_stream.streaming.web.live_feed import LiveFeed

from ..blocks import blocks, make_block
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
    """Not when a longer block follows shorter parts, nor when that block is no longer kept."""
    longer, *rest = blocks(20, size=4)
    planned, measured = LiveFeed(VIDEO, longest_block=5), LiveFeed(VIDEO)
    found = {planned.target_duration}
    for block in (rest[0], make_block(2, rest[1].start, 5), *rest[2:]):
        planned.write(block)
        found.add(planned.target_duration)
    for block in (longer, *rest):
        measured.write(block)
        found.add(measured.target_duration)
    assert found == {5 / VIDEO.fps}
    assert len(planned.segments()) == len(measured.segments()) < 19


def test_a_viewer_too_far_behind_goes_on_with_the_newest() -> None:
    feed = LiveFeed(VIDEO)
    for block in blocks(20, size=2):
        feed.write(block)
    feed.close()

    def after(number: int | None) -> int | None:
        piece = asyncio.run(feed.after(number))
        return piece and piece.number

    assert [after(n) for n in (None, 6, 7, 18, 19)] == [19, 19, 8, 19, None]
