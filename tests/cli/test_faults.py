"""Faults in the world: what was made stays, the message says what to do, the exit code tells."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch

from sana_stream.engine.snapshot_file import read_header
from sana_stream.models.vae import WanVAE

from .interrupt import FRAMES, STORY, at_block, fork, make, posix
from .run import pictures, run


def same_when_resumed(tiny: tuple[str, ...]) -> bool:
    """Whether a.mp4, gone on with, becomes what it would have been."""
    assert run("resume", "a.mp4") == 0
    assert make("b.mp4", *tiny) == 0
    return Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()


@posix
def test_a_full_disk(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """A limit on the size of files stands for it: the write is refused by the system."""
    import resource

    # the checkpoint shall stay below the limit
    monkeypatch.setattr("sana_stream.engine.snapshot.CACHE_LIMIT", 0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        code = make("a.y4m", "--checkpoint-every", "0.001s", *tiny)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    said = capfd.readouterr().err.splitlines()
    assert code == 1
    assert said[-1].startswith("sana-stream: a.y4m: file too large; ")
    assert "frames (" in said[-1]
    assert said[-1].endswith("are in it and play")
    assert "go on with it: sana-stream resume a.y4m" in said
    frames = len(pictures("a.y4m"))
    assert frames % 8 == 1
    assert read_header(Path("a.ckpt")).frames <= frames
    assert run("resume", "a.y4m") == 0
    assert make("b.y4m", *tiny) == 0
    assert Path("a.y4m").read_bytes() == Path("b.y4m").read_bytes()


@posix
def test_the_file_is_removed_under_us(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    at_block(monkeypatch, 3, Path("a.mp4").unlink)
    assert make("a.mp4", *tiny) == 1
    said = capfd.readouterr().err
    assert "a.mp4: it was moved or removed while it was being made, with " in said
    assert "put it back to resume it" in said
    monkeypatch.undo()


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_told_to_end(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
):
    with monkeypatch.context() as patch:
        at_block(patch, 3, lambda: os.kill(os.getpid(), number))
        assert make("a.mp4", *tiny) == 128 + number
    assert same_when_resumed(tiny)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a copy of this process, its model loaded")
def test_suspended_and_woken(tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    assert make("b.mp4", *tiny) == 0
    at_block(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGSTOP))
    child = fork(*STORY, "--frames", str(FRAMES), "--out", "a.mp4", "--quiet", *tiny)
    assert os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1])
    time.sleep(0.2)
    os.kill(child, signal.SIGCONT)
    assert os.waitpid(child, 0)[1] == 0
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()


def test_the_clock_is_put_back(tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    """Nothing here asks what time of day it is."""
    assert make("b.mp4", *tiny) == 0
    clock = iter(range(10**9, 0, -(10**5)))
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: float(next(clock)))
        assert make("a.mp4", "--checkpoint-every", "0.01s", *tiny) == 0
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()


def test_no_memory_left_on_the_device(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    def no_room(*_: object) -> None:
        raise torch.OutOfMemoryError("no room")

    with monkeypatch.context() as patch:
        at_block(patch, 3, lambda: patch.setattr(WanVAE, "decode", no_room))
        assert make("a.mp4", *tiny) == 1
    said = capfd.readouterr().err.splitlines()
    assert "the device has no memory left for block 3 (from frame 25)" in said[-1]
    assert "go on with it: sana-stream resume a.mp4" in said
    assert len(pictures("a.mp4")) == 25
    assert same_when_resumed(tiny)
