"""Resuming the playlist of an earlier run: players only see a slow stream."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sana_stream.errors import InvalidOutputError
from sana_stream.streaming.containers.mp4 import Mp4Fragmenter
from sana_stream.streaming.outputs.hls import HlsOutput
from sana_stream.streaming.outputs.hls_playlist import (
    Playlist,
    Segment,
    playlist_text,
    read_playlist,
)
from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.outputs.options import OutputOptions
from sana_stream.streaming.video_format import EncoderSettings, Metadata, StreamSpec, VideoFormat

from ...programs import needs
from ..blocks import FPS, HEIGHT, WIDTH, blocks
from ..http_client import TIMEOUT_SECONDS
from .test_hls import shown

VIDEO = VideoFormat(WIDTH, HEIGHT, FPS)
SPEC = StreamSpec(VIDEO)


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "killed"])
def test_a_playlist_goes_on(tmp_path: Path, closed: bool):
    playlist, straight = tmp_path / "a" / "live.m3u8", tmp_path / "b" / "live.m3u8"
    output = open_output(str(playlist), SPEC)
    for block in blocks(4):
        output.write(block)
    if closed:
        output.close()
    del output  # as killed: its lock is free
    output = open_output(str(playlist), SPEC, OutputOptions(resume_frames=33))
    for block in list(blocks(5))[2:]:
        output.write(block)
    output.close()
    output = open_output(str(straight), SPEC)
    for block in blocks(5):
        output.write(block)
    output.close()
    assert shown(playlist) == list(range(81))
    for file in straight.parent.iterdir():
        assert (playlist.parent / file.name).read_bytes() == file.read_bytes()
    with pytest.raises(InvalidOutputError, match="no segment in it ends after 40 frames"):
        open_output(str(playlist), SPEC, OutputOptions(resume_frames=40))


def write(playlist: Path, first: int, last: int, kept: int = 0, close: bool = False) -> HlsOutput:
    """Blocks `first` to `last` - 1 into a window of three; not closed is as killed."""
    output = open_output(str(playlist), SPEC, OutputOptions(resume_frames=kept, window=3))
    assert isinstance(output, HlsOutput)
    for block in list(blocks(last))[first:]:
        output.write(block)
    if close:
        output.close()
    return output


def named(playlist: Path) -> list[str]:
    """The segments that a playlist names, with their numbers as players count them."""
    read = read_playlist(playlist.read_text())
    for number, segment in enumerate(read.segments, read.media_sequence):
        assert segment.name == f"segment{number:06}.m4s"
        assert (playlist.parent / segment.name).exists()
    return [segment.name for segment in read.segments]


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.iterdir() if not path.name.endswith(".lock"))
    return {path.name: path.read_bytes() for path in found}


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "killed"])
@pytest.mark.parametrize("kept_blocks", [1, 3, 5, 6])
def test_a_window_goes_on_behind_what_its_viewers_have(
    tmp_path: Path, closed: bool, kept_blocks: int
) -> None:
    """However far the checkpoint is behind, nothing that was named comes again or changes."""
    playlist, straight = tmp_path / "a" / "live.m3u8", tmp_path / "b" / "live.m3u8"
    write(playlist, 0, 6, close=closed)
    before = files(playlist.parent)
    kept = 1 + 16 * kept_blocks
    write(playlist, kept_blocks, kept_blocks, kept=kept)
    assert named(playlist) == [f"segment00000{n}.m4s" for n in (3, 4, 5)]
    assert files(playlist.parent) == before  # nothing changes before a block comes
    assert write(playlist, kept_blocks, 6, kept=kept).frames == 97
    assert {**before, "live.m3u8": b""} == {**files(playlist.parent), "live.m3u8": b""}
    write(playlist, kept_blocks, 8, kept=kept, close=True)
    write(straight, 0, 8, close=True)
    assert files(playlist.parent) == files(straight.parent)
    assert "DISCONTINUITY" not in playlist.read_text()
    assert shown(playlist) == list(range(81, 129))


def test_where_blocks_are_missing_a_jump_is_told_until_it_has_left_the_window(
    tmp_path: Path,
) -> None:
    playlist = tmp_path / "live.m3u8"
    write(playlist, 0, 4)
    write(playlist, 6, 7, kept=97)
    lines = playlist.read_text().splitlines()
    assert lines[lines.index("segment000004.m4s") - 2] == "#EXT-X-DISCONTINUITY"
    write(playlist, 7, 9, kept=113)
    assert playlist.read_text().count("#EXT-X-DISCONTINUITY\n") == 1
    write(playlist, 9, 10, kept=145)
    assert "#EXT-X-DISCONTINUITY-SEQUENCE:1\n" in playlist.read_text()
    write(playlist, 10, 11, kept=161)
    assert "#EXT-X-DISCONTINUITY-SEQUENCE:1\n" in playlist.read_text()
    assert named(playlist) == [f"segment00000{n}.m4s" for n in (6, 7, 8)]


@pytest.mark.parametrize("left", [0, 700])
def test_a_segment_that_a_power_cut_has_torn_is_made_again(tmp_path: Path, left: int) -> None:
    playlist = tmp_path / "live.m3u8"
    write(playlist, 0, 4)
    torn = tmp_path / "segment000003.m4s"
    whole = torn.read_bytes()
    torn.write_bytes(whole[:left])
    (tmp_path / ".segment000004.m4s.sana-stream.part").write_bytes(b"half")
    write(playlist, 2, 5, kept=33, close=True)
    assert torn.read_bytes() == whole
    assert named(playlist) == [f"segment00000{n}.m4s" for n in (2, 3, 4)]
    assert shown(playlist) == list(range(33, 81))
    assert len(list(tmp_path.iterdir())) == 5


def test_an_empty_folder_begins_anew(tmp_path: Path) -> None:
    playlist = tmp_path / "live" / "live.m3u8"
    write(playlist, 0, 4)
    shutil.rmtree(playlist.parent)
    write(playlist, 4, 6, kept=65, close=True)
    assert named(playlist) == ["segment000000.m4s", "segment000001.m4s"]
    assert shown(playlist) == list(range(65, 97))


@pytest.mark.programs
@needs("ffmpeg")
def test_ffmpeg_watches_a_window_over_an_interruption(tmp_path: Path) -> None:
    """A player that is there all the time sees every frame once."""
    playlist, out = tmp_path / "live" / "live.m3u8", tmp_path / "out.mkv"
    write(playlist, 0, 3)
    source = ["-live_start_index", "0", "-i", str(playlist)]
    command = ["ffmpeg", "-v", "verbose", *source, "-fps_mode", "passthrough", "-c:v", "ffv1"]
    log = tmp_path / "log.txt"
    with log.open("w") as said, subprocess.Popen([*command, str(out)], stderr=said) as player:
        try:
            watched(log, "segment000002.m4s")
            write(playlist, 2, 4, kept=33)  # one block of the window, then another, which is new
            watched(log, "segment000003.m4s")
            write(playlist, 1, 6, kept=17, close=True)
            assert player.wait(TIMEOUT_SECONDS) == 0
        finally:
            player.kill()  # it would watch for ever
    assert shown(out) == list(range(97))


def watched(log: Path, name: str) -> None:
    """Wait until the player has opened a segment."""
    until = time.monotonic() + TIMEOUT_SECONDS
    while not re.search(rf"Opening '[^']*{name}'", log.read_text()):
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)


@settings(deadline=None)
@given(
    longest=st.integers(1, 100),
    first=st.integers(0, 10**9),
    jumps=st.integers(0, 99),
    seconds=st.lists(st.tuples(st.integers(1, 10**8), st.booleans()), max_size=6),
)
def test_a_playlist_is_read_as_it_was_written(
    longest: int, first: int, jumps: int, seconds: list[tuple[int, bool]]
) -> None:
    segments = (Segment(s / 10**6, f"segment{n:06}.m4s", j) for n, (s, j) in enumerate(seconds))
    playlist = Playlist(longest, first, jumps, tuple(segments))
    text = playlist_text(playlist)
    assert read_playlist(text) == playlist
    assert read_playlist(text + "#EXT-X-ENDLIST\n") == playlist


@pytest.mark.parametrize("fps", [Fraction(16), Fraction(24000, 1001), Fraction(30)])
def test_a_fragment_tells_its_frames(fps: Fraction) -> None:
    fragmenter = Mp4Fragmenter(
        StreamSpec(VideoFormat(WIDTH, HEIGHT, fps), EncoderSettings(), Metadata())
    )
    for block in blocks(3):
        fragment = fragmenter.fragment(block)
        assert fragmenter.frames(fragment) == range(block.start, block.start + len(block.frames))
        assert not fragmenter.frames(fragment[:-1])
