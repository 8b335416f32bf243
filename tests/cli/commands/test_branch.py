"""Other videos from where a checkpoint stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sana_stream.engine.engine import Engine

from ...command import pictures, run
from ...interruptions import (
    at_block,
    interrupt,
    make,
    make_interrupted,
    posix,
)


@posix
def test_a_branch_goes_another_way_from_the_same_place(
    tiny: tuple[str, ...], tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    make_interrupted(monkeypatch, 2, "a.mp4", *tiny)
    session = tiny_engine.resume("a.ckpt")
    session.switch("a fox runs")
    wanted = np.concatenate([next(session).frames for _ in range(3)])[:20]
    before = Path("a.ckpt").read_bytes()
    branch = ("branch", "a.ckpt", "--prompt", "a fox runs", "--frames", "20")
    assert run(*branch, "--out", "b/%04d.png") == 0
    assert np.array_equal(pictures("b"), wanted)
    assert run(*branch, "--out", "other.mp4", "--seed", "9") == 0
    assert not np.array_equal(pictures("other.mp4")[0], pictures("b")[0])
    assert Path("a.ckpt").read_bytes() == before
    assert run("resume", "a.mp4") == 0


@posix
def test_a_branch_that_is_interrupted_goes_on_too(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    make_interrupted(monkeypatch, 2, "a.mp4", *tiny)
    prompts = ("--prompt", "a fox runs", "--prompt", "the moon rises")
    branch = ("branch", "a.mp4", *prompts, "--frames", "30", "--out")
    assert run(*branch, "c.mp4") == 0
    with monkeypatch.context() as patch:
        at_block(patch, 4, interrupt)
        assert run(*branch, "b.mp4") == 130
    assert run("resume", "b.mp4") == 0
    assert Path("b.mp4").read_bytes() == Path("c.mp4").read_bytes()
    assert Path("b.vtt").read_bytes() == Path("c.vtt").read_bytes()


def test_a_stream_saved_from_python_can_be_branched_and_not_resumed(
    tiny: tuple[str, ...], tiny_engine: Engine, capfd: pytest.CaptureFixture[str]
):
    session = tiny_engine.session("a red boat", memory="window=2,sink=1", timesteps=(1000, 700))
    next(session)
    session.save("own.ckpt")
    session.switch("night falls")
    assert run("resume", "own.ckpt") == 2
    assert "sana-stream branch own.ckpt --prompt TEXT --out FILE" in capfd.readouterr().err
    branch = ("branch", "own.ckpt", "--prompt", "night falls", "--frames", "8")
    assert run(*branch, "--out", "b/%04d.png", *tiny) == 0
    assert np.array_equal(pictures("b"), next(session).frames)


def test_a_branch_needs_a_name_of_its_own(tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str]):
    assert make("a.mp4", "--keep-checkpoint", *tiny) == 0
    branch = ("branch", "a.mp4", "--prompt", "a fox")
    assert run(*branch) == 2
    assert run(*branch, "--out", "a.mkv") == 2
    assert run("branch", "a.mp4", "--out", "b.mp4") == 2
    said = capfd.readouterr().err
    assert "give it a name with --out FILE" in said
    assert "--out a.mkv is the video that is branched: give another name" in said
    assert "no prompt is given: add --prompt" in said
