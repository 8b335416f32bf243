"""Interrupted runs are resumed and equal undisturbed ones."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from sana_stream.engine.snapshot.file import read_header

from ...command import pictures, run
from ...interruptions import (
    at_block,
    collapse,
    interrupt,
    make,
    make_interrupted,
    posix,
)


@posix
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.y4m", "a/%04d.png"])
def test_resumed_video_equals_an_undisturbed_one(
    tiny: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    name: str,
):
    other = name.replace("a", "b", 1)
    shown = [file.split("/%")[0] for file in (name, other)]
    assert make(other, *tiny) == 0
    make_interrupted(monkeypatch, 3, name, *tiny)
    assert f"resume it with: sana-stream resume {name}" in capfd.readouterr().err
    assert len(pictures(shown[0])) == 33
    assert read_header(Path("a.ckpt")).frames == 33
    assert run("resume", name) == 0
    assert "continuing from frame 33 (0:02.062)" in capfd.readouterr().err.splitlines()
    assert np.array_equal(pictures(shown[0]), pictures(shown[1]))
    assert not Path("a.ckpt").exists()
    if name == "a.mp4":
        assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()
        assert Path("a.vtt").read_bytes() == Path("b.vtt").read_bytes()


@posix
def test_segmented_output_is_resumed(tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    assert make("b.mp4", "--segment", "1s", *tiny) == 0
    make_interrupted(monkeypatch, 3, "a.mp4", "--segment", "1s", *tiny)
    assert run("resume", "a.mp4") == 0
    ours, theirs = (sorted(Path().glob(f"{name}-*.mp4")) for name in "ab")
    assert len(ours) == len(theirs) == 4
    for one, other in zip(ours, theirs, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert not Path("a.ckpt").exists()


@posix
def test_playlist_is_resumed(tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    assert make("b/live.m3u8", *tiny) == 0
    make_interrupted(monkeypatch, 3, "a/live.m3u8", *tiny)
    assert run("resume", "a/live.m3u8") == 0
    assert np.array_equal(pictures("a/live.m3u8"), pictures("b/live.m3u8"))
    assert sorted(os.listdir("a")) == sorted(os.listdir("b"))


@pytest.mark.parametrize("every", ["0.001s", "1h"])
def test_failed_run_resumes_from_its_last_checkpoint(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, every: str
):
    """A run that fails but can still write leaves a checkpoint at the end of the video."""
    assert make("b.mp4", *tiny) == 0
    with monkeypatch.context() as patch:
        at_block(patch, 4, collapse)
        assert make("a.mp4", "--checkpoint-every", every, *tiny) == 1
    assert read_header(Path("a.ckpt")).frames == 33
    assert run("resume", "a.ckpt") == 0
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()


@posix
def test_video_ahead_of_its_checkpoint_is_truncated(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    assert make("b.mp4", *tiny) == 0
    make_interrupted(monkeypatch, 1, "a.mp4", *tiny)
    early = Path("a.ckpt").read_bytes()
    with monkeypatch.context() as patch:
        at_block(patch, 5, interrupt)
        assert run("resume", "a.mp4") == 130
    assert len(pictures("a.mp4")) == 49
    Path("a.ckpt").write_bytes(early)
    assert run("resume", "a.mp4") == 0
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()


@posix
def test_video_shorter_than_its_checkpoint_is_refused(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    make_interrupted(monkeypatch, 1, "a.mp4", *tiny)
    short, captions = Path("a.mp4").read_bytes(), Path("a.vtt").read_bytes()
    with monkeypatch.context() as patch:
        at_block(patch, 3, interrupt)
        assert run("resume", "a.mp4") == 130
    Path("a.mp4").write_bytes(short)
    Path("a.vtt").write_bytes(captions)
    assert run("resume", "a.mp4") == 2
    said = capfd.readouterr().err.splitlines()[-1]
    assert said.endswith("cannot be resumed: only 17 whole frames are in it, 33 are needed")
    assert Path("a.mp4").read_bytes()[-100:] != b""
    assert len(pictures("a.mp4")) == 17


@posix
def test_moved_video_and_checkpoint_are_resumed(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    assert make("b.mp4", *tiny) == 0
    make_interrupted(monkeypatch, 2, "a.mp4", *tiny)
    Path("elsewhere").mkdir()
    for suffix in (".mp4", ".vtt", ".ckpt"):
        shutil.move(f"a{suffix}", "elsewhere")
    assert run("resume", "elsewhere/a.mp4") == 0
    assert Path("elsewhere/a.mp4").read_bytes() == Path("b.mp4").read_bytes()


def test_resume_without_checkpoint_is_refused(
    tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str]
):
    for name in ("nothing.mp4", "frames/%04d.png"):
        assert run("resume", name) == 2
        assert f"{name} does not exist, nor does its checkpoint" in capfd.readouterr().err
    assert make("a.mp4", *tiny) == 0
    assert run("resume", "a.mp4") == 2
    assert "a.mp4 has no a.ckpt: the video is whole, or" in capfd.readouterr().err
    assert run("branch", "a.ckpt", "--prompt", "a fox", "--out", "b.mp4") == 2
    assert "a.ckpt does not exist: the video is whole, or" in capfd.readouterr().err
    Path("a.ckpt").write_bytes(b"something else")
    assert run("resume", "a.mp4") == 1
    assert "a.ckpt is not a complete checkpoint" in capfd.readouterr().err
