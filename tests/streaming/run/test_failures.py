"""Faults of the system: finished blocks are kept, the message says how to resume."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from sana_stream.engine.snapshot.file import read_header
from sana_stream.models.vae.wan import WanVAE

from ...command import command, complete, environment, pictures, run
from ...interruptions import (
    FRAMES,
    STORY,
    at_block,
    fork,
    make,
    make_interrupted,
    posix,
    send,
    wait_for,
)


def same_when_resumed(tiny: tuple[str, ...]) -> bool:
    """Whether the resumed a.mp4 equals an undisturbed run."""
    assert run("resume", "a.mp4") == 0
    assert make("b.mp4", *tiny) == 0
    return Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """Limit the size of files that this process may write."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@posix
def test_full_disk_keeps_a_resumable_video(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """A limit on the size of files simulates it: the system refuses the write."""
    # keeps the checkpoint below the limit
    monkeypatch.setattr("sana_stream.engine.snapshot.snapshot.CACHE_LIMIT", 0)
    with file_limit(100_000):
        code = make("a.y4m", "--checkpoint-every", "0.001s", *tiny)
    said = capfd.readouterr().err.splitlines()
    assert code == 1
    assert said[-1].startswith("sana-stream: a.y4m: file too large; ")
    assert "frames (" in said[-1]
    assert said[-1].endswith("are in it and play")
    assert "resume it with: sana-stream resume a.y4m" in said
    frames = len(pictures("a.y4m"))
    assert frames % 8 == 1
    assert read_header(Path("a.ckpt")).frames <= frames
    assert run("resume", "a.y4m") == 0
    assert make("b.y4m", *tiny) == 0
    assert Path("a.y4m").read_bytes() == Path("b.y4m").read_bytes()


@posix
def test_removed_output_file_ends_run(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    def remove() -> None:
        wait_for(Path("a.mp4"))  # the output thread may not have written it yet
        Path("a.mp4").unlink()

    at_block(monkeypatch, 3, remove)
    assert make("a.mp4", *tiny) == 1
    said = capfd.readouterr().err
    assert "a.mp4: it was moved or removed while it was being made, with " in said
    assert "put it back to resume it" in said
    monkeypatch.undo()


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_termination_signal_keeps_a_resumable_video(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
):
    with monkeypatch.context() as patch:
        at_block(patch, 3, lambda: send(number))
        assert make("a.mp4", *tiny) == 128 + number
    assert same_when_resumed(tiny)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_suspended_process_continues(tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    assert make("b.mp4", *tiny) == 0
    at_block(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGSTOP))
    child = fork(*STORY, "--frames", str(FRAMES), "--out", "a.mp4", "--quiet", *tiny)
    assert os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1])
    time.sleep(0.2)
    os.kill(child, signal.SIGCONT)
    assert os.waitpid(child, 0)[1] == 0
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()


def test_clock_set_back_changes_nothing(tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    """The run does not depend on the wall clock."""
    assert make("b.mp4", *tiny) == 0
    clock = iter(range(10**9, 0, -(10**5)))
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: float(next(clock)))
        assert make("a.mp4", "--checkpoint-every", "0.01s", *tiny) == 0
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()


def test_device_out_of_memory_ends_run(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    def raise_out_of_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("no room")

    with monkeypatch.context() as patch:
        at_block(patch, 3, lambda: patch.setattr(WanVAE, "decode", raise_out_of_memory))
        assert make("a.mp4", *tiny) == 1
    said = capfd.readouterr().err.splitlines()
    assert "the device has no memory left for block 4 (from frame 25)" in said[-1]
    assert "resume it with: sana-stream resume a.mp4" in said
    assert len(pictures("a.mp4")) == 25
    assert same_when_resumed(tiny)


@posix
@pytest.mark.parametrize(
    ("output", "limit"),
    [
        ("a.mp4", 0),
        ("a.mp4", 600),
        ("a.mkv", 4),
        ("a.ts", 20),
        ("a.y4m", 4),
        ("live/a.m3u8", 20),
        ("f/%04d.png", 20),
    ],
)
def test_file_size_limit_leaves_no_stub(tmp_path: Path, tiny_folder: Path, output: str, limit: int):
    """Not even the header of a file fits: one line on stderr, and no unplayable file is left."""
    argv = command((*STORY, "--frames", "30", "--out", output, "--model", tiny_folder))
    environ = environment() | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = complete(argv, cwd=tmp_path, env=environ, file_bytes=limit)
    said = done.stderr.decode().splitlines()
    assert done.returncode in (1, 2)
    assert "file too large" in said[-1].lower()
    assert "Errno" not in said[-1]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@posix
def test_segmented_output_counts_only_written_frames(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """The next segment file cannot be opened: the run fails and resumes from what was kept."""
    row = ("--segment", "1s", *tiny)
    assert make("b.mp4", *row) == 0
    with monkeypatch.context() as patch:
        patch.setattr("sana_stream.streaming.run.outputs.LEAST_SPACE", 0)
        at_block(patch, 2, lambda: Path("a-0002.mp4").mkdir())
        assert make("a.mp4", *row) == 1
    assert "a-0002.mp4" in capfd.readouterr().err.splitlines()[-1]
    frames = len(pictures("a-0001.mp4"))
    assert read_header(Path("a.ckpt")).frames <= frames
    Path("a-0002.mp4").rmdir()
    assert run("resume", "a.mp4") == 0
    for name in sorted(Path().glob("b-*.mp4")):
        assert Path(name.name.replace("b-", "a-")).read_bytes() == name.read_bytes()


def test_interrupted_run_without_checkpoint_reports_it(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("sana_stream.engine.snapshot.file.atomic_write", refuse)
    make_interrupted(monkeypatch, 3, "a.mp4", *tiny)
    said = capfd.readouterr().err
    assert "there is no checkpoint to resume from: checkpoint a.ckpt cannot be written" in said
    assert "sana-stream resume" not in said


def test_older_checkpoint_is_kept_and_reported(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    calls = iter(range(100))

    def refuse_later(path: Path, data: bytes) -> None:
        if next(calls):
            raise OSError(28, "No space left on device")
        path.write_bytes(data)

    with monkeypatch.context() as patch:
        patch.setattr("sana_stream.engine.snapshot.file.atomic_write", refuse_later)
        make_interrupted(patch, 4, "a.mp4", "--checkpoint-every", "0.001s", *tiny)
    said = capfd.readouterr().err
    frames = read_header(Path("a.ckpt")).frames
    assert (
        f"it can be resumed from frame {frames}: checkpoint a.ckpt cannot be written: no space"
        in said
    )
    assert same_when_resumed(tiny)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_host_out_of_memory_ends_run(
    tiny: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    error: Exception,
):
    def raise_out_of_memory(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        at_block(patch, 3, lambda: patch.setattr(WanVAE, "decode", raise_out_of_memory))
        assert make("a.mp4", *tiny) == 1
    said = capfd.readouterr().err.splitlines()
    assert said[-1].startswith("sana-stream: there is not enough memory: ")
    assert "resume it with: sana-stream resume a.mp4" in said
    assert same_when_resumed(tiny)
