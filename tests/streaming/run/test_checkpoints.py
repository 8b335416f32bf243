"""The checkpoint of a video: when it exists, what it contains, when it prevents a new run."""

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


def test_complete_video_leaves_no_checkpoint(tiny: tuple[str, ...]):
    assert make("a.mp4", *tiny) == 0
    assert sorted(os.listdir()) == ["a.mp4", "a.vtt"]
    assert make("b.mp4", "--keep-checkpoint", *tiny) == 0
    assert read_header(Path("b.ckpt")).frames == 65  # the last block's end, not the video's


def test_no_checkpoint_option_writes_none(tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        at_block(patch, 4, collapse)
        assert make("a.mp4", "--checkpoint-every", "off", *tiny) == 1
    assert not Path("a.ckpt").exists()


def test_checkpoint_contains_options_and_story(tiny: tuple[str, ...]):
    assert make("a.mp4", "--keep-checkpoint", "--fps", "24000/1001", *tiny) == 0
    header = read_header(Path("a.ckpt"))
    assert header.watch is not None
    assert (header.watch["prompt"], header.watch["good"]) == (STORY[3], False)
    saved = json.loads(json.dumps(header.extra))["run"]
    assert saved["options"]["fps"] == "24000/1001"
    assert saved["options"]["outputs"] == [str(Path("a.mp4").absolute())]
    assert [cue[1] for cue in saved["story"]["cues"]] == ["a red boat", "night falls over the sea"]


@posix
def test_new_run_does_not_replace_interrupted_video(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    make_interrupted(monkeypatch, 2, "a.mp4", *tiny)
    before = Path("a.ckpt").read_bytes()
    assert make("a.mkv", *tiny) == 2
    assert "a.ckpt exists, the checkpoint of an interrupted video" in capfd.readouterr().err
    assert Path("a.ckpt").read_bytes() == before
    assert make("a.mp4", "--overwrite", *tiny) == 0
    assert not Path("a.ckpt").exists()


def test_unwritable_checkpoint_does_not_end_run(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    def refuse(path: Path, *_: object) -> None:
        raise SnapshotError(f"checkpoint {path} cannot be written: no space left on device")

    monkeypatch.setattr("sana_stream.engine.snapshot.file.save_snapshot", refuse)
    assert make("a.mp4", "--checkpoint-every", "0.001s", *tiny) == 0
    said = capfd.readouterr().err
    assert "a.ckpt cannot be written: no space left on device; the run continues" in said
    assert len(pictures("a.mp4")) == FRAMES
