"""Run the command line in this process or in a separate one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from sana_stream.cli.main import main

from . import forked


def run(*argv: str | Path) -> int:
    """Run `sana-stream` with these arguments in this process and return its exit code."""
    try:
        return main([str(word) for word in argv])
    except SystemExit as end:
        return int(end.code or 0)


def command(argv: Sequence[str | Path]) -> list[str]:
    """Return the command line that starts `sana-stream` as a process."""
    return [sys.executable, "-m", "sana_stream.cli", *map(str, argv)]


def environment() -> dict[str, str]:
    """Return an environment with one thread: these models are too small for more."""
    return os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def light_environment() -> dict[str, str]:
    """Return an environment in which tests/light replaces transformers.

    It halves the time of a process with a tiny model. Prompts are embedded differently than by
    the real package, so neither may resume a checkpoint of the other.
    """
    paths = (str(Path(__file__).with_name("light")), os.environ.get("PYTHONPATH", ""))
    return environment() | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def start(
    *argv: str | Path,
    cwd: Path,
    hold: int | None = None,
    fresh: bool = False,
    light: bool = False,
    **more: Any,
) -> subprocess.Popen[bytes]:
    """Start `sana-stream` as a process.

    Args:
        hold: stop before this block until there is a file `release` in `cwd`; -1 before the model
            is loaded.
        fresh: see `spawn`.
        light: a new interpreter runs in `light_environment`.
        more: passed to `spawn`.
    """
    pipe = subprocess.PIPE
    words = command(argv)
    if hold is not None:
        script = Path(__file__).with_name("held_run.py")
        words = [sys.executable, str(script), str(hold), "release", *map(str, argv)]
    fresh = fresh or not forkable(more)
    environ = light_environment() if light and fresh else environment()
    streams = {"stdin": pipe, "stdout": pipe, "stderr": pipe}
    return spawn(words, fresh=fresh, cwd=cwd, env=environ, **streams, **more)


def forkable(more: dict[str, Any]) -> bool:
    """Whether a process with these options of `Popen` can be a fork."""
    return forked.AVAILABLE and "preexec_fn" not in more


def spawn(
    words: list[str], *, fresh: bool = False, file_bytes: int | None = None, **more: Any
) -> subprocess.Popen[bytes]:
    """Start a Python script or module.

    On Linux it is a fork of a process that has imported everything, which takes a tenth of the
    time of a new interpreter.

    Args:
        words: `[sys.executable, ...]`.
        fresh: start a new interpreter, for a test whose subject is the start or end of one.
        file_bytes: limit of the size of files that the process may write.
        more: passed to `Popen`; a `preexec_fn` needs a new interpreter.
    """
    if forkable(more) and not fresh:
        return forked.ForkedProcess(words, file_bytes=file_bytes, **more)
    if file_bytes is not None:
        import resource

        limits = (file_bytes, file_bytes)
        more["preexec_fn"] = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    process: Any = subprocess.Popen(words, **more)
    return process


def complete(
    words: list[str], *, typed: bytes | None = None, fresh: bool = False, **more: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run what `spawn` starts to its end, with its output captured unless `more` says otherwise.

    Args:
        typed: its standard input.
        fresh: see `spawn`.
        more: passed to `spawn`.
    """
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    streams = {"stdin": null if typed is None else pipe, "stdout": pipe, "stderr": pipe}
    more = {"env": environment()} | streams | more
    with spawn(words, fresh=fresh, **more) as process:
        try:
            out, err = process.communicate(typed, timeout=120)
        finally:
            process.kill()
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def pictures(path: Path | str) -> np.ndarray:
    """Read all frames of a video file or of a folder of PNG files, uint8 (T, H, W, 3)."""
    files = sorted(Path(path).glob("*.png")) if Path(path).is_dir() else [Path(path)]
    return np.concatenate([_decoded(file) for file in files])


def _decoded(file: Path) -> np.ndarray:
    with av.open(f"file:{file}") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames)
