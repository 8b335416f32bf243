"""A finished MP4, MOV or Matroska file has a chapter for each prompt that was shown."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path
from typing import Any

import av
import pytest

from sana_stream.streaming import OutputOptions, StreamSpec, VideoFormat
from sana_stream.streaming.containers.mp4_boxes import children, find, walk
from sana_stream.streaming.outputs.open import open_output

from ...programs import need
from ..blocks import FPS, HEIGHT, WIDTH, blocks, make_block, pour

SPEC = StreamSpec(VideoFormat(WIDTH, HEIGHT, FPS))
PROMPTS = ("a red boat", "a red boat", "rain & <wind> 雨", "\n night\tfalls ")
CHAPTERS = [(0, 33, "a red boat"), (33, 49, "rain & <wind> 雨"), (49, 65, "night falls")]
KINDS = pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])


def chapters(path: Path) -> list[tuple[int, int, str]]:
    """The chapters of a file as PyAV reads them, in frames."""
    with av.open(str(path)) as container:
        found: Any = container.chapters()
        assert sum(1 for _ in container.decode(video=0)) > 0
    return [
        (
            round(each["start"] * each["time_base"] * FPS),
            round(each["end"] * each["time_base"] * FPS),
            each["metadata"]["title"],
        )
        for each in found
    ]


def write(path: Path, prompts: tuple[str, ...] = PROMPTS, **options: Any) -> None:
    output = open_output(path, SPEC, OutputOptions(**options))
    pour(output, blocks(4, prompts=prompts))
    output.close()


@KINDS
def test_each_prompt_is_a_chapter(tmp_path: Path, suffix: str):
    write(path := tmp_path / f"a{suffix}")
    assert chapters(path) == CHAPTERS


@KINDS
def test_single_prompt_is_no_chapter(tmp_path: Path, suffix: str):
    write(path := tmp_path / f"a{suffix}", PROMPTS[:1])
    assert chapters(path) == []


@KINDS
def test_resumed_video_has_the_chapters_of_both_runs(tmp_path: Path, suffix: str):
    path = tmp_path / f"a{suffix}"
    write(path)
    output = open_output(path, SPEC, OutputOptions(resume_frames=49))
    output.write(make_block(3, 49, 16, "the sun rises"))
    output.close()
    assert chapters(path) == [*CHAPTERS[:2], (49, 65, "the sun rises")]


@KINDS
def test_resumed_video_equals_an_undisturbed_one(tmp_path: Path, suffix: str):
    path, whole = tmp_path / f"a{suffix}", tmp_path / f"whole{suffix}"
    write(path)
    write(whole)
    output = open_output(path, SPEC, OutputOptions(resume_frames=33))
    pour(output, list(blocks(4, prompts=PROMPTS))[2:])
    output.close()
    first = {".mkv": b"\x1f\x43\xb6\x75"}.get(suffix, b"")  # a random id precedes the clusters
    ours, theirs = path.read_bytes(), whole.read_bytes()
    assert ours[ours.index(first) :] == theirs[theirs.index(first) :]


def test_each_file_of_several_has_its_own_chapters(tmp_path: Path):
    write(tmp_path / "a.mp4", segment_seconds=2.5)
    assert chapters(tmp_path / "a-0001.mp4") == CHAPTERS[:2]
    assert chapters(tmp_path / "a-0002.mp4") == []


@KINDS
def test_more_chapters_than_a_list_holds(tmp_path: Path, suffix: str):
    output = open_output(path := tmp_path / f"a{suffix}", SPEC)
    for number in range(300):
        output.write(make_block(number, number, 1, f"prompt {number} {'雨' * 200}"))
    output.close()
    found = chapters(path)
    assert [start for start, _, _ in found] == list(range(300))
    assert all(len(title.encode()) <= 255 and "雨" in title for _, _, title in found)


@pytest.mark.programs
@KINDS
def test_ffprobe_reads_the_chapters(tmp_path: Path, suffix: str):
    need("ffprobe")
    write(path := tmp_path / f"a{suffix}")
    words = ["ffprobe", "-v", "error", "-of", "json", "-show_chapters", "-show_format", path]
    found = subprocess.run(words, capture_output=True, check=True)
    assert found.stderr == b""
    facts = json.loads(found.stdout)
    assert [each["tags"]["title"] for each in facts["chapters"]] == [c[2] for c in CHAPTERS]
    assert float(facts["format"]["duration"]) == pytest.approx(65 / FPS, abs=0.001)


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_prompt_that_is_shown_for_weeks_is_a_chapter(tmp_path: Path, suffix: str):
    start = 800 * 3600 * FPS
    output = open_output(path := tmp_path / f"a{suffix}", SPEC)
    for number, (first, prompt) in enumerate([(0, "a red boat"), (start, "night falls")]):
        output.write(make_block(number, first, 16, prompt))
    output.close()
    with path.open("rb") as file:
        moov = next(part for part in walk(file) if part.kind == "moov")
        file.seek(moov.content)
        *_, (_, track) = [
            each for each in children(file.read(moov.end - moov.content)) if each[0] == "trak"
        ]
    unit, length = struct.unpack_from(">IQ", find(track, "mdia", "mdhd"), 20)
    assert length / unit == start / FPS + 1
    rows = struct.unpack(">4I", find(track, "mdia", "minf", "stbl", "stts")[8:])
    assert rows == (1, unit, 1, length - unit)
