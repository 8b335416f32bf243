"""A live stream that is rewound, continued otherwise, and saved for a branch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sana_stream.engine.engine import Engine
from sana_stream.streaming.control.pending_changes import PendingChanges

from ...command import pictures, run
from ...interruptions import (
    LIVE,
    at_block,
    interrupt,
    posix,
    submit_before,
)


def frames_under(engine: Engine, prompts: list[str]) -> list[np.ndarray]:
    session, made = engine.session(prompts[0]), []
    for prompt in prompts:
        session.switch(prompt)
        made.append(next(session).frames)
    return made


def test_rewound_live_stream_continues_from_that_block(
    tiny: tuple[str, ...],
    tiny_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    """Rewound 0.5 s after four blocks, the video continues with the stream's fourth block."""
    submit_before(monkeypatch, 4, PendingChanges(prompt="a fox runs", back=0.5))
    assert run(*LIVE, "--frames", "57", "--out", "a/%04d.png", *tiny) == 0
    first = frames_under(tiny_engine, ["a red boat"] * 4)
    second = frames_under(tiny_engine, ["a red boat"] * 3 + ["a fox runs"] * 3)
    assert np.array_equal(pictures("a"), np.concatenate(first + second[3:]))
    assert "the stream was rewound by 0.5 s; the video continues" in capfd.readouterr().err


def test_rewind_seconds_use_the_videos_frame_rate(
    tiny: tuple[str, ...],
    tiny_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    """At 8 frames a second each block takes 1 s, and 33 frames precede the fifth."""
    submit_before(monkeypatch, 4, PendingChanges(back=2.0))
    assert run(*LIVE, "--fps", "8", "--frames", "41", "--out", "a/%04d.png", *tiny) == 0
    made = frames_under(tiny_engine, ["a red boat"] * 4)
    assert np.array_equal(pictures("a"), np.concatenate([*made, made[2]]))
    submit_before(monkeypatch, 4, PendingChanges(back=99.0))
    assert run(*LIVE, "--fps", "8", "--frames", "42", "--out", "b/%04d.png", *tiny) == 0
    assert np.array_equal(pictures("b"), np.concatenate([*made, made[0]]))
    assert "4.1 s, to its start; the video continues" in capfd.readouterr().err


@posix
def test_rewound_stream_can_be_resumed(tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    options = (*LIVE, "--frames", "60", *tiny)
    monkeypatch.setattr("secrets.token_hex", lambda size: "ab" * size)  # the id of a live run
    with monkeypatch.context() as patch:
        submit_before(patch, 4, PendingChanges(back=0.5))
        assert run(*options, "--out", "b.mp4") == 0
    with monkeypatch.context() as patch:
        submit_before(patch, 4, PendingChanges(back=0.5))
        at_block(patch, 4, interrupt)
        assert run(*options, "--out", "a.mp4") == 130
    assert run("resume", "a.mp4") == 0
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()


def test_rewind_beyond_history_is_reported(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    submit_before(monkeypatch, 4, PendingChanges(back=2.0))
    assert run(*LIVE, "--frames", "41", "--history", "1s", "--out", "a.mp4", *tiny) == 0
    assert "cannot rewind 2 s: the history holds 1.5 s" in capfd.readouterr().err
    assert len(pictures("a.mp4")) == 41


def test_saved_moment_can_be_branched(
    tiny: tuple[str, ...],
    tiny_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    with monkeypatch.context() as patch:
        submit_before(patch, 3, PendingChanges(branch="here"))
        assert run(*LIVE, "--frames", "41", "--out", "a.mp4", *tiny) == 0
    assert "kept: sana-stream branch here.ckpt --prompt TEXT --out FILE" in capfd.readouterr().err
    assert run("resume", "here.ckpt") == 2
    branch = ("branch", "here.ckpt", "--prompt", "a fox runs", "--frames", "16")
    assert run(*branch, "--out", "b/%04d.png") == 0
    wanted = frames_under(tiny_engine, ["a red boat"] * 3 + ["a fox runs"] * 2)
    assert np.array_equal(pictures("b"), np.concatenate(wanted[3:]))
    with monkeypatch.context() as patch:
        submit_before(patch, 1, PendingChanges(branch="here"))
        assert run(*LIVE, "--frames", "17", "--out", "c.mp4", *tiny) == 0
    assert "here.ckpt exists: give another name" in capfd.readouterr().err
