"""Two processes that want the same video, in every order of start, write, finish and kill."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ...command import environment, pictures, run, start
from ...interruptions import STORY, posix, wait_for_checkpoint

pytestmark = posix
OUTPUTS = [("a.mp4", "a.ckpt"), ("a/%03d.png", "a.ckpt"), ("a/live.m3u8", "a/live.ckpt")]
FRAMES = {"a.mp4": 200, "a/%03d.png": 200, "a/live.m3u8": 200}


def begin(folder: Path, model: Path, name: str) -> subprocess.Popen[bytes]:
    """A process that makes a video."""
    return start(*words(model, name), cwd=folder)


def begin_held(folder: Path, model: Path, name: str) -> subprocess.Popen[bytes]:
    """The same, which waits before block 20 until there is a file `release`."""
    script = [sys.executable, str(Path(__file__).with_name("held_run.py")), "20", "release"]
    argv = [*script, *map(str, words(model, name))]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, cwd=folder, env=environment(), stdout=pipe, stderr=pipe)


def words(model: Path, name: str) -> tuple[str | Path, ...]:
    options = ("--frames", str(FRAMES[name]), "--checkpoint-every", "0.001s", "--device", "cpu")
    return (*STORY, *options, "--model", model, "--out", name)


def end(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """How a process ended, and what it said."""
    _, said = process.communicate(timeout=300)
    return process.returncode, said.decode()


def shown(folder: Path, name: str) -> int:
    """How many frames an output has."""
    return len(pictures(folder / name.split("/%")[0]))


@pytest.mark.parametrize(("name", "checkpoint"), OUTPUTS)
@pytest.mark.parametrize("second", ["again", "overwrite", "resume"])
def test_while_one_writes_the_other_is_refused(
    tmp_path: Path,
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    name: str,
    checkpoint: str,
    second: str,
):
    monkeypatch.chdir(tmp_path)
    first = begin_held(tmp_path, tiny_folder, name)
    wait_for_checkpoint(tmp_path / checkpoint, first.pid)
    other = {
        "again": (*STORY, "--model", str(tiny_folder), "--out", name),
        "overwrite": (*STORY, "--model", str(tiny_folder), "--out", name, "--overwrite"),
        "resume": ("resume", name),
    }
    assert run(*other[second]) == 2
    (tmp_path / "release").touch()
    said = capfd.readouterr().err
    assert f"is being written by process {first.pid} on " in said or second == "again"
    assert end(first)[0] == 0
    assert shown(tmp_path, name) == FRAMES[name]


@pytest.mark.parametrize(("name", "checkpoint"), OUTPUTS)
def test_two_that_start_at_once(tmp_path: Path, tiny_folder: Path, name: str, checkpoint: str):
    """One makes the video, the other one is refused or finds it made; which one is no matter."""
    pair = [begin(tmp_path, tiny_folder, name) for _ in range(2)]
    codes = sorted(end(process)[0] for process in pair)
    assert codes == [0, 2]
    assert shown(tmp_path, name) == FRAMES[name]
    assert not list(tmp_path.rglob("*.lock"))


@pytest.mark.parametrize(("name", "checkpoint"), OUTPUTS)
def test_two_that_resume_at_once(tmp_path: Path, tiny_folder: Path, name: str, checkpoint: str):
    first = begin_held(tmp_path, tiny_folder, name)
    wait_for_checkpoint(tmp_path / checkpoint, first.pid)
    first.kill()
    end(first)
    pair = [start("resume", name, cwd=tmp_path) for _ in range(2)]
    ended = sorted(end(process) for process in pair)
    assert [code for code, _ in ended] == [0, 2], ended
    assert shown(tmp_path, name) == FRAMES[name]
    assert not list(tmp_path.rglob("*.lock"))


@pytest.mark.parametrize(("name", "checkpoint"), OUTPUTS)
def test_one_that_is_killed_leaves_the_video_to_the_other(
    tmp_path: Path, tiny_folder: Path, name: str, checkpoint: str
):
    first = begin_held(tmp_path, tiny_folder, name)
    wait_for_checkpoint(tmp_path / checkpoint, first.pid)
    second = start("resume", name, cwd=tmp_path)
    until = time.monotonic() + 120
    while second.poll() is None and psutil.Process(second.pid).cpu_times().user < 0.3:
        assert time.monotonic() < until
        time.sleep(0.01)
    first.kill()
    end(first)
    code, said = end(second)
    assert (code == 0 and shown(tmp_path, name) == FRAMES[name]) or "is being written by" in said
    if code:
        assert end(start("resume", name, cwd=tmp_path))[0] == 0
    assert shown(tmp_path, name) == FRAMES[name]
