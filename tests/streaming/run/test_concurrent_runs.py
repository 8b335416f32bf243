"""Two processes that write the same video, in every order of start, write, end and kill."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import psutil
import pytest

from ...command import pictures, run, start
from ...interruptions import STORY, posix, wait_for_checkpoint

pytestmark = posix
OUTPUTS = [("a.mp4", "a.ckpt"), ("a/%03d.png", "a.ckpt"), ("a/live.m3u8", "a/live.ckpt")]
FRAMES = 96


def begin(folder: Path, model: Path, name: str) -> subprocess.Popen[bytes]:
    """Start a process that makes a video."""
    return start(*arguments(model, name), cwd=folder)


def begin_held(folder: Path, model: Path, name: str) -> subprocess.Popen[bytes]:
    """Start such a process, blocked before block 8 until the file `release` exists."""
    return start(*arguments(model, name), cwd=folder, hold=8)


def arguments(model: Path, name: str) -> tuple[str | Path, ...]:
    options = ("--frames", str(FRAMES), "--checkpoint-every", "0.001s", "--device", "cpu")
    return (*STORY, *options, "--model", model, "--out", name)


def wait_for_end(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Return a process's exit code and its standard error."""
    _, said = process.communicate(timeout=300)
    return process.returncode, said.decode()


def frame_count(folder: Path, name: str) -> int:
    """Return the number of frames of an output."""
    return len(pictures(folder / name.split("/%")[0]))


@pytest.mark.parametrize(("name", "checkpoint"), OUTPUTS)
def test_second_writer_is_refused(
    tmp_path: Path,
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    name: str,
    checkpoint: str,
):
    """Refused are a run that starts again, one that overwrites, and one that resumes."""
    monkeypatch.chdir(tmp_path)
    first = begin_held(tmp_path, tiny_folder, name)
    wait_for_checkpoint(tmp_path / checkpoint, first.pid)
    again = (*STORY, "--model", str(tiny_folder), "--out", name)
    assert run(*again) == 2
    for second in ((*again, "--overwrite"), ("resume", name)):
        capfd.readouterr()
        assert run(*second) == 2
        assert f"is being written by process {first.pid} on " in capfd.readouterr().err
    assert first.poll() is None
    (tmp_path / "release").touch()
    assert wait_for_end(first)[0] == 0
    assert frame_count(tmp_path, name) == FRAMES


@pytest.mark.parametrize(("name", "checkpoint"), OUTPUTS)
def test_parallel_starts_make_one_video(
    tmp_path: Path, tiny_folder: Path, name: str, checkpoint: str
):
    """One makes the video; the other is refused or finds it complete. Either may be first."""
    pair = [begin(tmp_path, tiny_folder, name) for _ in range(2)]
    codes = sorted(wait_for_end(process)[0] for process in pair)
    assert codes == [0, 2]
    assert frame_count(tmp_path, name) == FRAMES
    assert not list(tmp_path.rglob("*.lock"))


@pytest.mark.parametrize(("name", "checkpoint"), OUTPUTS[::2])
def test_parallel_resumes_make_one_video(
    tmp_path: Path, tiny_folder: Path, name: str, checkpoint: str
):
    first = begin_held(tmp_path, tiny_folder, name)
    wait_for_checkpoint(tmp_path / checkpoint, first.pid)
    first.kill()
    wait_for_end(first)
    pair = [start("resume", name, cwd=tmp_path) for _ in range(2)]
    ended = sorted(wait_for_end(process) for process in pair)
    assert [code for code, _ in ended] == [0, 2], ended
    assert frame_count(tmp_path, name) == FRAMES
    assert not list(tmp_path.rglob("*.lock"))


@pytest.mark.parametrize(("name", "checkpoint"), OUTPUTS[:2])
def test_killed_writer_releases_the_video(
    tmp_path: Path, tiny_folder: Path, name: str, checkpoint: str
):
    first = begin_held(tmp_path, tiny_folder, name)
    wait_for_checkpoint(tmp_path / checkpoint, first.pid)
    second = start("resume", name, cwd=tmp_path)
    until = time.monotonic() + 120
    while second.poll() is None and psutil.Process(second.pid).cpu_times().user < 0.1:
        assert time.monotonic() < until
        time.sleep(0.01)
    first.kill()
    wait_for_end(first)
    code, said = wait_for_end(second)
    assert (code == 0 and frame_count(tmp_path, name) == FRAMES) or "is being written by" in said
    if code:
        assert wait_for_end(start("resume", name, cwd=tmp_path))[0] == 0
    assert frame_count(tmp_path, name) == FRAMES
