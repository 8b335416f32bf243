"""Recordings of a server: the oldest goes for the newest, a full disk ends none of the streams."""

from __future__ import annotations

import shutil
from argparse import ArgumentTypeError
from pathlib import Path
from typing import NamedTuple

import pytest

from sana_stream.cli.recordings import Recordings
from sana_stream.cli.values import size_in_bytes
from sana_stream.streaming.feed import LiveFeed
from sana_stream.streaming.format import Tags, VideoFormat
from sana_stream.streaming.pump import Pump

from ..streaming.asking import await_that
from ..streaming.blocks import HEIGHT, WIDTH, blocks
from .run import pictures

VIDEO = VideoFormat(WIDTH, HEIGHT, 16)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def old(folder: Path, number: int, size: int) -> Path:
    path = folder / f"stream-{number:04}.mp4"
    path.write_bytes(bytes(size))
    path.with_suffix(".vtt").write_text("WEBVTT\n")
    return path


def test_the_oldest_goes_first_and_the_one_of_now_never(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path, keep=True, limit=250)
    other = tmp_path / "holiday.mp4"
    other.write_bytes(bytes(1000))
    first, second = old(tmp_path, 0, 100), old(tmp_path, 9999, 100)
    running = recordings.next()
    assert running.name == "stream-10000.mp4"
    running.write_bytes(bytes(40))
    assert recordings.full(running) is None
    assert first.exists()
    running.write_bytes(bytes(60))
    assert recordings.full(running) is None
    assert [first.exists(), first.with_suffix(".vtt").exists()] == [False, False]
    assert second.exists()
    running.write_bytes(bytes(300))
    assert recordings.full(running) == "recordings may take 0 MiB (--keep)"
    assert [second.exists(), running.exists(), other.exists()] == [False, True, True]


def test_what_nobody_asked_to_keep_goes_when_the_next_stream_begins(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path, keep=False, limit=1000)
    first = old(tmp_path, 0, 10)
    assert recordings.next().name == "stream-0001.mp4"
    assert not first.exists()
    kept = old(tmp_path, 5, 10)
    assert Recordings(tmp_path, keep=True, limit=None).next().name == "stream-0006.mp4"
    assert kept.exists()


def test_a_recording_that_has_no_more_room_ends_and_its_stream_goes_on(tmp_path: Path) -> None:
    recordings, said, told = Recordings(tmp_path, keep=False, limit=20_000), [], []
    path, feed = recordings.next(), LiveFeed(VIDEO)
    recording = recordings.open(path, VIDEO, Tags(), told.append)
    with Pump([feed, recording], said.append) as pump:
        for block in blocks(40):
            assert pump.write(block)
    assert feed.frames == 641
    assert 17 <= recording.frames < 641
    assert len(pictures(path)) == recording.frames
    assert len(path.with_suffix(".vtt").read_text().splitlines()) > 2
    assert len(said) == len(told) == 1
    assert "recordings may take 0 MiB (--keep)" in said[0]
    assert f"{recording.frames} frames (" in said[0]
    assert said[0].endswith("the other outputs go on")
    assert told[0].startswith("The recording ends at 0:")
    assert "the stream goes on: recordings may take" in told[0]


def test_a_disk_that_is_nearly_full_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings, told = Recordings(tmp_path, keep=True, limit=None), []
    kept = old(tmp_path, 0, 1000)
    path, feed, said = recordings.next(), LiveFeed(VIDEO), []
    with Pump([feed, recordings.open(path, VIDEO, Tags(), told.append)], said.append) as pump:
        source = blocks(4)
        pump.write(next(source))
        await_that(lambda: feed.frames >= 17 and path.stat().st_size, "nothing is recorded")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 40, 0, 100 << 20))
        for block in source:
            pump.write(block)
    assert feed.frames == 65
    assert "only 100 MiB are free on the disk of" in said[0]
    assert "only 100 MiB are free" in told[0]
    assert kept.exists(), "nobody has said that it may go"
    assert not path.exists() or len(pictures(path)) % 16 == 1


def test_sizes() -> None:
    assert [size_in_bytes(text) for text in ("500MB", "1.5 gb", "2T")] == [
        500_000_000,
        1_500_000_000,
        2_000_000_000_000,
    ]
    for text in ("0GB", "lots", "10", "-1GB"):
        with pytest.raises(ArgumentTypeError, match="give 500MB, 20GB"):
            size_in_bytes(text)
