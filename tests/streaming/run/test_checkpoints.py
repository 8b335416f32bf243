"""The checkpoint beside a video: when it is there, what it says, when it is in the way."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sana_stream.engine.snapshot.file import read_header
from sana_stream.errors import SnapshotError

from ...command import pictures
from ...interruptions import (
    FRAMES,
    STORY,
    at_block,
    collapse,
    make,
    make_interrupted,
    posix,
)


def test_a_whole_video_leaves_no_checkpoint(tiny: tuple[str, ...]):
    assert make("a.mp4", *tiny) == 0
    assert sorted(os.listdir()) == ["a.mp4", "a.vtt"]
    assert make("b.mp4", "--keep-checkpoint", *tiny) == 0
    assert read_header(Path("b.ckpt")).frames == 65  # the last block's end, not the video's


def test_checkpoints_can_be_left_out(tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        at_block(patch, 4, collapse)
        assert make("a.mp4", "--checkpoint-every", "off", *tiny) == 1
    assert not Path("a.ckpt").exists()


def test_the_checkpoint_says_what_the_run_is(tiny: tuple[str, ...]):
    assert make("a.mp4", "--keep-checkpoint", "--fps", "24000/1001", *tiny) == 0
    header = read_header(Path("a.ckpt"))
    assert header.watch is not None
    assert (header.watch["prompt"], header.watch["good"]) == (STORY[3], False)
    told = json.loads(json.dumps(header.extra))["run"]
    assert told["options"]["fps"] == "24000/1001"
    assert told["options"]["outputs"] == [str(Path("a.mp4").absolute())]
    assert [cue[1] for cue in told["story"]["cues"]] == ["a red boat", "night falls over the sea"]


@posix
def test_a_new_video_does_not_take_an_interrupted_ones_place_by_accident(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    make_interrupted(monkeypatch, 2, "a.mp4", *tiny)
    before = Path("a.ckpt").read_bytes()
    assert make("a.mkv", *tiny) == 2
    assert "a.ckpt exists, the checkpoint of an interrupted video" in capfd.readouterr().err
    assert Path("a.ckpt").read_bytes() == before
    assert make("a.mp4", "--overwrite", *tiny) == 0
    assert not Path("a.ckpt").exists()


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_run(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    def refuse(path: Path, *_: object) -> None:
        raise SnapshotError(f"checkpoint {path} cannot be written: no space left on device")

    monkeypatch.setattr("sana_stream.engine.snapshot.file.save_snapshot", refuse)
    assert make("a.mp4", "--checkpoint-every", "0.001s", *tiny) == 0
    said = capfd.readouterr().err
    assert "a.ckpt cannot be written: no space left on device; the run goes on" in said
    assert len(pictures("a.mp4")) == FRAMES
