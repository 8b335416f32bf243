"""Processes killed by SIGKILL, and the processes that resume their videos."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from ...command import pictures, run, start
from ...interruptions import (
    STORY,
    fork,
    modified,
    posix,
    wait_for_checkpoint,
)


@posix
def test_killed_run_is_resumed(tmp_path: Path, tiny_folder: Path):
    begin = (*STORY, "--frames", "200", "--model", str(tiny_folder), "--device", "cpu")
    assert run(*begin, "--out", tmp_path / "b.mp4", "--quiet") == 0
    process = start(*begin, "--out", "a.mp4", "--checkpoint-every", "0.001s", cwd=tmp_path, hold=20)
    wait_for_checkpoint(tmp_path / "a.ckpt", process.pid)
    process.kill()
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert run("resume", tmp_path / "a.mp4", "--quiet") == 0
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "a.vtt", "b.mp4", "b.vtt"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize(("seed", "name"), [(1, "a.mp4"), (2, "a.mkv"), (3, "a.ts")])
def test_run_killed_repeatedly_gives_the_same_video(tiny: tuple[str, ...], seed: int, name: str):
    """Each process is killed at a random time; the next one resumes.

    Some are killed while they open the files of the previous process, some after a few blocks.
    """
    chance = random.Random(seed)
    words = ("--frames", "100", "--checkpoint-every", "0.02s", "--quiet", *tiny)
    assert run(*STORY, *words, "--out", f"whole{name[1:]}") == 0
    child = fork(*STORY, *words, "--out", name)
    wait_for_checkpoint(Path("a.ckpt"), child)
    for _ in range(6):
        time.sleep(chance.uniform(0, 0.3))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status) or not Path("a.ckpt").exists():
            break  # it was complete before the signal came
        child = fork("resume", name, "--quiet")
        if chance.random() < 0.5:
            wait_for_checkpoint(Path("a.ckpt"), child, after=modified(Path("a.ckpt")))
    else:
        assert os.waitpid(child, 0)[1] == 0
    assert not Path("a.ckpt").exists()
    assert np.array_equal(pictures(name), pictures(f"whole{name[1:]}"))
    assert Path("a.vtt").read_bytes() == Path("whole.vtt").read_bytes()
