"""Recordings of a server: the oldest is deleted first, and a full disk ends no stream."""

from __future__ import annotations

import os
import shutil
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sana_stream.cli.argument_types import size_in_bytes
from sana_stream.errors import ConfigError, OutputError
from sana_stream.streaming.outputs.pump import OutputPump
from sana_stream.streaming.outputs.recording import LimitedRecording
from sana_stream.streaming.run.recordings import Recordings
from sana_stream.streaming.run.recordings_index import RecordingIndex
from sana_stream.streaming.video_format import Metadata, VideoFormat
from sana_stream.streaming.web.live_feed import LiveFeed

from ...command import pictures
from ..blocks import HEIGHT, WIDTH, blocks
from ..http_client import await_that

VIDEO = VideoFormat(WIDTH, HEIGHT, 16)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def earlier_recording(folder: Path, number: int, size: int) -> Path:
    """Create a recording as an earlier server leaves it."""
    path = folder / f"stream-{number:04}.mp4"
    path.write_bytes(bytes(size))
    path.with_suffix(".vtt").write_text("WEBVTT\n")
    index = RecordingIndex(folder)
    index.claim()
    index.add(path)
    index.complete(path)
    index.release()
    return path


def test_files_of_any_number_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sana_stream.streaming.run.recordings_index._MOST", 20)
    made = [earlier_recording(tmp_path, number, 10) for number in range(1, 10)]
    made[0].unlink()  # a user has removed it
    index = RecordingIndex(tmp_path)
    index.claim()
    assert index.recordings() == made[1:]
    index.release()
    made += [earlier_recording(tmp_path, number, 10) for number in range(10, 14)]
    index.claim()
    found = index.recordings()
    assert 8 <= len(found) <= 10
    assert found == made[-len(found) :]
    assert all(path.exists() for path in made[1:])
    assert "the oldest are left in the folder" in caplog.text
    index.release()


def test_oldest_is_deleted_first_and_current_one_never(tmp_path: Path) -> None:
    other = tmp_path / "holiday.mp4"
    other.write_bytes(bytes(1000))
    first, second = earlier_recording(tmp_path, 0, 100), earlier_recording(tmp_path, 9999, 100)
    recordings = Recordings(tmp_path, keep=True, limit=250)
    assert recordings.first_id() == 10000
    running, _ = recordings.begin(10000, VIDEO, Metadata(), print)
    assert running.name == "stream-10000.mp4"
    running.write_bytes(bytes(40))
    assert recordings.full(running) is None
    assert first.exists()
    running.write_bytes(bytes(60))
    assert recordings.full(running) is None
    assert [first.exists(), first.with_suffix(".vtt").exists()] == [False, False]
    assert second.exists()
    running.write_bytes(bytes(300))
    assert recordings.full(running) == "recordings may take 0 MiB (limit=)"
    assert [second.exists(), running.exists(), other.exists()] == [False, True, True]


def test_recording_of_a_stream_that_is_to_be_resumed_is_kept(tmp_path: Path) -> None:
    waiting, ended = earlier_recording(tmp_path, 1, 100), earlier_recording(tmp_path, 2, 100)
    recordings = Recordings(tmp_path, keep=True, limit=150)
    recordings.check()
    recordings.hold(1, waiting)
    assert (recordings.interrupted(), recordings.finished()) == ({1: waiting}, {2: ended})
    running, file = recordings.begin(3, VIDEO, Metadata(), print)
    assert [waiting.exists(), ended.exists()] == [True, False]
    recordings._limit = 50
    assert recordings.full(running) == "recordings may take 0 MiB (limit=)"
    assert "their limit" in str(recordings.unavailable())
    recordings.release(1)
    assert recordings.full(running) is None
    assert not waiting.exists()
    file.close()
    recordings.close()


def test_recordings_live_as_long_as_their_streams_are_listed(tmp_path: Path) -> None:
    """Of streams that run at the same time none is removed, not by the limit either."""
    recordings = Recordings(tmp_path, keep=False, limit=100_000)
    begun = {n: recordings.begin(n, VIDEO, Metadata(), print) for n in (1, 2, 3)}
    source = blocks()
    for _, recording in begun.values():
        recording.write(next(source))
    begun[1][1].close()
    recordings.begin(4, VIDEO, Metadata(), print)[1].close()
    assert all(path.exists() for path, _ in begun.values())
    recordings._limit = 1  # every byte counts from now on
    assert recordings.full(begun[2][0]) == "recordings may take 0 MiB (limit=)"
    assert [path.exists() for path, _ in begun.values()] == [False, True, True]
    begun[2][1].close()
    recordings.forget(2)
    recordings.forget(3)  # it is running
    assert [path.exists() for path, _ in begun.values()] == [False, False, True]
    begun[3][1].close()
    recordings.close()
    kept = Recordings(tmp_path, keep=True, limit=None)
    path, recording = kept.begin(7, VIDEO, Metadata(), print)
    recording.write(next(source))
    recording.close()
    kept.forget(7)
    assert path.exists()
    kept.close()


def test_recording_above_limit_ends_and_stream_continues(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recordings, notices = Recordings(tmp_path, keep=False, limit=20_000), []
    path, recording = recordings.begin(1, VIDEO, Metadata(), notices.append)
    feed = LiveFeed(VIDEO)
    with OutputPump([feed, recording]) as pump:
        for block in blocks(40):
            assert pump.write(block)
    assert feed.frames == 641
    assert 17 <= recording.frames < 641
    assert len(pictures(path)) == recording.frames
    assert len(path.with_suffix(".vtt").read_text().splitlines()) > 2
    assert len(caplog.messages) == len(notices) == 1
    assert "recordings may take 0 MiB (limit=)" in caplog.messages[0]
    assert f"{recording.frames} frames (" in caplog.messages[0]
    assert caplog.messages[0].endswith("the other outputs continue")
    assert notices[0].startswith("The recording ends at 0:")
    assert "the stream continues: recordings may take" in notices[0]


def test_nearly_full_disk_is_not_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = earlier_recording(tmp_path, 0, 1000)
    recordings, feed, notices = Recordings(tmp_path, True, None), LiveFeed(VIDEO), []
    path, recording = recordings.begin(1, VIDEO, Metadata(), notices.append)
    with OutputPump([feed, recording]) as pump:
        source = blocks(4)
        pump.write(next(source))
        await_that(
            lambda: feed.frames >= 17 and path.exists() and path.stat().st_size,
            "nothing is recorded",
        )
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 40, 0, 100 << 20))
        for block in source:
            pump.write(block)
    assert feed.frames == 65
    assert "only 100 MiB are free on the disk of" in caplog.messages[0]
    assert "only 100 MiB are free" in notices[0]
    assert kept.exists(), "it was not released yet"
    assert not path.exists() or len(pictures(path)) % 16 == 1


@contextmanager
def continuing_after(folder: Path, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Record two blocks of a stream, run a callback, then record four more."""
    notices: list[str] = []
    source, feed = blocks(6), LiveFeed(VIDEO)
    recordings = Recordings(folder, keep=True, limit=None)
    _, recording = recordings.begin(1, VIDEO, Metadata(), notices.append)
    with OutputPump([feed, recording]) as pump:
        for _ in range(2):
            pump.write(next(source))
        await_that(lambda: recording.frames == 33, "it is not recorded")
        yield
        for block in source:
            assert pump.write(block)
    assert feed.frames == 97, "the stream continues"
    assert len(notices) == 1
    assert "The recording ends at 0:02, the stream continues: " in notices[0]
    assert len(caplog.messages) <= 2
    assert "the other outputs continue" in caplog.messages[0]
    recordings.close()


def test_removed_folder_ends_no_stream(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "films"
    with continuing_after(folder, caplog):
        shutil.rmtree(folder)
    recordings = Recordings(folder, keep=True, limit=None)
    recordings.begin(1, VIDEO, Metadata(), print)[1].close()
    recordings.close()


def test_folder_replaced_by_a_file_ends_no_stream(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "films"
    with continuing_after(folder, caplog):
        folder.rename(tmp_path / "elsewhere")
        folder.write_text("")
    assert folder.read_text() == ""


@pytest.mark.parametrize("error", [OSError(27, "File too large"), MemoryError(), KeyError("moov")])
def test_failing_recording_ends_no_stream(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    def fail(*_: object) -> None:
        raise error

    with continuing_after(tmp_path, caplog):
        monkeypatch.setattr("sana_stream.streaming.outputs.file.FileOutput.write", fail)
        monkeypatch.setattr("sana_stream.streaming.outputs.file.FileOutput.close", fail)


def test_recording_that_cannot_be_completed_ends_no_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    notices: list[str] = []
    recordings, feed = Recordings(tmp_path, keep=True, limit=None), LiveFeed(VIDEO)
    _, recording = recordings.begin(1, VIDEO, Metadata(), notices.append)

    def fail(*_: object) -> None:
        raise OutputError("no space") from OSError(28, "No space left on device")

    monkeypatch.setattr("sana_stream.streaming.outputs.file.FileOutput.close", fail)
    with OutputPump([feed, recording]) as pump:
        pump.write(next(blocks()))
    assert notices == ["The recording is not complete: no space left on device."]
    assert caplog.messages[0].startswith("no space")


def test_recording_that_cannot_be_opened_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings = Recordings(tmp_path, keep=True, limit=None)
    with monkeypatch.context() as patched:
        patched.setattr(RecordingIndex, "check", lambda *_: (_ for _ in ()).throw(OSError(28)))
        with pytest.raises(OSError, match="28"):
            recordings.begin(1, VIDEO, Metadata(), print)
    assert not list(tmp_path.glob("stream-*"))
    path, recording = recordings.begin(1, VIDEO, Metadata(), print)
    recording.write(next(blocks()))
    recording.close()
    assert len(pictures(path)) == 17


def test_foreign_files_are_never_deleted(tmp_path: Path) -> None:
    ours = [earlier_recording(tmp_path, number, 1000) for number in range(3)]
    ours[1].write_bytes(b"another program's film")
    ours[2].with_suffix(".vtt").write_text("WEBVTT\n\n0:00 --> 0:01\na translation\n")
    foreign = {tmp_path / f"stream-000{n}.mp4": bytes(9000) for n in (5, 7)}
    foreign |= {tmp_path / "stream-0009.vtt": b"x", tmp_path / "STREAM-0011.MP4": b"x"}
    for path, content in foreign.items():
        path.write_bytes(content)
    recordings = Recordings(tmp_path, keep=True, limit=5000)
    running, _ = recordings.begin(5, VIDEO, Metadata(), print)
    assert running.name == "stream-0012.mp4"
    running.write_bytes(bytes(5000))
    recordings.full(running)
    assert [path.exists() for path in ours] == [False, True, False]
    assert ours[2].with_suffix(".vtt").exists()
    assert all(path.read_bytes() == content for path, content in foreign.items())
    recordings.close()


def test_recording_of_a_killed_server_is_still_counted(tmp_path: Path) -> None:
    killed = Recordings(tmp_path, keep=True, limit=None)
    path, recording = killed.begin(1, VIDEO, Metadata(), print)
    recording.write(next(blocks()))
    killed.close()
    index = RecordingIndex(tmp_path)
    index.claim()
    assert index.recordings() == [path]
    assert index.remove(path)
    assert not list(tmp_path.glob("stream-*"))


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[" * 5000, b'{"recordings": [{"name": "../../film.mp4"}]}', b"\xff", b"null"],
)
def test_foreign_index_file_is_not_changed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "recordings.json").write_bytes(content)
    with pytest.raises(ConfigError, match="is not a list of recordings of this program"):
        Recordings(tmp_path, keep=True, limit=None).begin(1, VIDEO, Metadata(), print)
    assert (tmp_path / "recordings.json").read_bytes() == content
    assert not list(tmp_path.glob("stream-*"))


def test_file_created_meanwhile_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings, opened = Recordings(tmp_path, keep=True, limit=None), Recordings.open

    def late(self: Recordings, path: Path, *more: Any, **named: Any) -> LimitedRecording:
        if path.name == "stream-0001.mp4":
            path.write_bytes(b"theirs")
        return opened(self, path, *more, **named)

    monkeypatch.setattr(Recordings, "open", late)
    path, recording = recordings.begin(1, VIDEO, Metadata(), print)
    recording.close()
    assert path.name == "stream-0002.mp4"
    assert (tmp_path / "stream-0001.mp4").read_bytes() == b"theirs"
    recordings.close()


def test_second_server_on_a_folder_is_refused(tmp_path: Path) -> None:
    first = Recordings(tmp_path, keep=True, limit=None)
    first.check()
    message = f"another server \\(process {os.getpid()}\\) records there"
    with pytest.raises(ConfigError, match=message):
        Recordings(tmp_path, keep=True, limit=None).check()
    first.close()
    Recordings(tmp_path, keep=True, limit=None).check()


def test_size_in_bytes_parses_units() -> None:
    assert [size_in_bytes(text) for text in ("500MB", "1.5 gb", "2T")] == [
        500_000_000,
        1_500_000_000,
        2_000_000_000_000,
    ]
    for text in ("0GB", "lots", "10", "-1GB"):
        with pytest.raises(ArgumentTypeError, match="give 500MB, 20GB"):
            size_in_bytes(text)
