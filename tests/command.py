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
    """Return an environment in which tests/light stands in for transformers.

    It halves the time of a process with a tiny model. Prompts are embedded differently than by
    the real package, so neither may resume a checkpoint of the other.
    """
    paths = (str(Path(__file__).with_name("light")), os.environ.get("PYTHONPATH", ""))
    return environment() | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def start(
    *argv: str | Path, cwd: Path, hold: int | None = None, light: bool = False, **more: Any
) -> subprocess.Popen[bytes]:
    """Start `sana-stream` as a process.

    Args:
        hold: stop before this block until there is a file `release` in `cwd`.
        light: in `light_environment`.
        more: passed to `Popen`.
    """
    pipe = subprocess.PIPE
    words = command(argv)
    if hold is not None:
        script = Path(__file__).with_name("held_run.py")
        words = [sys.executable, str(script), str(hold), "release", *map(str, argv)]
    environ = light_environment() if light else environment()
    process: Any = subprocess.Popen(
        words, cwd=cwd, env=environ, stdin=pipe, stdout=pipe, stderr=pipe, **more
    )
    return process


def pictures(path: Path | str) -> np.ndarray:
    """Read all frames of a video file or of a folder of PNG files, uint8 (T, H, W, 3)."""
    files = sorted(Path(path).glob("*.png")) if Path(path).is_dir() else [Path(path)]
    return np.concatenate([_decoded(file) for file in files])


def _decoded(file: Path) -> np.ndarray:
    with av.open(f"file:{file}") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames)
