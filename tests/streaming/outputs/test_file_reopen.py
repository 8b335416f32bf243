"""Continuing the file of an earlier run: its frames stay, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sana_stream.errors import InvalidOutputError
from sana_stream.streaming.ai_mark import DIGITAL_SOURCE_TYPE
from sana_stream.streaming.containers.run_id import read_run
from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.outputs.options import OutputOptions
from sana_stream.streaming.run_mark import ANONYMOUS, run_mark
from sana_stream.streaming.video_format import StreamSpec, VideoFormat

from ..blocks import FPS, HEIGHT, WIDTH, blocks, make_block
from .test_file import SUFFIXES, shown

VIDEO = VideoFormat(WIDTH, HEIGHT, FPS)
SPEC = StreamSpec(VIDEO)
FIXTURES = [HealthCheck.function_scoped_fixture]


def write(path: Path, first: int, last: int, kept: int = 0, close: bool = True) -> None:
    """Blocks `first` to `last` - 1 into a file; not closed is as killed."""
    output = open_output(str(path), SPEC, OutputOptions(resume_frames=kept))
    for block in list(blocks(last))[first:]:
        output.write(block)
    if close:
        output.close()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "killed"])
@pytest.mark.parametrize("kept_blocks", [1, 2], ids=["ahead", "even"])
def test_a_file_goes_on_as_if_it_had_never_stopped(
    tmp_path: Path, suffix: str, closed: bool, kept_blocks: int
):
    path, straight = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    write(path, 0, 2, close=closed)
    before = path.read_bytes()
    write(path, kept_blocks, 3, kept=1 + 16 * kept_blocks)
    write(straight, 0, 3)
    assert shown(path) == list(range(49))
    assert path.with_suffix(".vtt").read_text() == straight.with_suffix(".vtt").read_text()
    if suffix in (".mp4", ".mov", ".y4m"):
        assert path.read_bytes() == straight.read_bytes()
    else:  # with random identifiers or counters of their own
        assert path.read_bytes()[1000:3000] == before[1000:3000]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_torn_anywhere_has_its_id(tmp_path: Path, suffix: str):
    path = tmp_path / f"a{suffix}"
    write(path, 0, 1, close=False)
    begin = path.stat().st_size
    write(path, 1, 2, kept=17, close=False)
    data = path.read_bytes()
    for end in range(begin, min(len(data), begin + 300)):
        path.write_bytes(data[:end])
        assert read_run(path) == ANONYMOUS


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".y4m"])
@settings(max_examples=4, deadline=None, suppress_health_check=FIXTURES)
@given(torn=st.floats(0.02, 0.98))
def test_a_torn_block_behind_the_kept_ones_is_cut_off(tmp_path: Path, suffix: str, torn: float):
    path = tmp_path / f"a{suffix}"
    path.unlink(missing_ok=True)
    path.with_suffix(".vtt").unlink(missing_ok=True)
    write(path, 0, 2, close=False)
    whole = len(path.read_bytes())
    write(path, 2, 3, kept=33, close=False)
    data = path.read_bytes()
    path.write_bytes(data[: whole + int((len(data) - whole) * torn)])
    write(path, 2, 4, kept=33)
    assert shown(path) == list(range(65))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".y4m"])
def test_a_file_that_is_too_short_is_refused_and_still_plays(tmp_path: Path, suffix: str):
    path = tmp_path / f"a{suffix}"
    write(path, 0, 2, close=False)
    with pytest.raises(InvalidOutputError, match="only 33 whole frames are in it, 49 are needed"):
        open_output(str(path), SPEC, OutputOptions(resume_frames=49))
    assert shown(path) == list(range(33))


def test_a_file_that_is_gone_or_of_another_kind_is_refused(tmp_path: Path):
    path = tmp_path / "a.mp4"
    with pytest.raises(InvalidOutputError, match="cannot be resumed: no such file"):
        open_output(str(path), SPEC, OutputOptions(resume_frames=33))
    write(path.with_suffix(".y4m"), 0, 1)
    path.with_suffix(".y4m").rename(path)
    with pytest.raises(InvalidOutputError, match="another run has written it"):
        open_output(str(path), SPEC, OutputOptions(resume_frames=33))


@pytest.mark.parametrize("kept_blocks", [1, 2, 3, 4])
def test_files_of_equal_length_go_on(tmp_path: Path, kept_blocks: int):
    """Files of 2 s: the first one has blocks 0 and 1, the second one 2 and 3."""
    output = open_output(str(tmp_path / "a.mp4"), SPEC, OutputOptions(segment_seconds=2))
    for block in blocks(4):
        output.write(block)
    del output  # as killed: its lock is free
    kept = 1 + 16 * kept_blocks
    output = open_output(
        str(tmp_path / "a.mp4"), SPEC, OutputOptions(segment_seconds=2, resume_frames=kept)
    )
    assert output.frames == kept
    for block in list(blocks(6))[kept_blocks:]:
        output.write(block)
    output.close()
    assert output.frames == 97
    files = sorted(tmp_path.glob("*.mp4"))
    assert [len(shown(file)) for file in files] == [33, 32, 32]
    assert [number for file in files for number in shown(file)] == list(range(97))
    assert len(list(tmp_path.glob("*.vtt"))) == 3


def test_pictures_go_on(tmp_path: Path):
    pattern = str(tmp_path / "%04d.png")
    output = open_output(pattern, SPEC)
    output.write(make_block(0, 0, 17))
    del output
    output = open_output(pattern, SPEC, OutputOptions(resume_frames=17))
    output.write(make_block(1, 17, 16))
    assert output.frames == 33
    output.close()
    assert len(list(tmp_path.iterdir())) == 33
    with pytest.raises(InvalidOutputError, match=r"0048.png: cannot be resumed: no such file"):
        open_output(pattern, SPEC, OutputOptions(resume_frames=49))


def test_captions_are_cut_with_the_video(tmp_path: Path):
    path = tmp_path / "a.mp4"
    prompts = ("a red boat", "night falls & rain", "the sun rises")
    output = open_output(str(path), SPEC)
    for block in blocks(3, prompts=prompts):
        output.write(block)
    del output
    output = open_output(str(path), SPEC, OutputOptions(resume_frames=33))
    output.write(make_block(2, 33, 16, "night falls & rain"))
    output.close()
    assert path.with_suffix(".vtt").read_text() == (
        f"WEBVTT\n\nNOTE {run_mark(ANONYMOUS)}\n\nNOTE {DIGITAL_SOURCE_TYPE}\n"
        "\n00:00:00.000 --> 00:00:01.062\na red boat\n"
        "\n00:00:01.062 --> 00:00:03.062\nnight falls &amp; rain\n"
    )
