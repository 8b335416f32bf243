"""Running the command line in this process and as a process of its own."""

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
    """The exit code of `sana-stream` with these words, in this process."""
    try:
        return main([str(word) for word in argv])
    except SystemExit as end:
        return int(end.code or 0)


def command(argv: Sequence[str | Path]) -> list[str]:
    """The words that start `sana-stream` as a process."""
    return [sys.executable, "-m", "sana_stream.cli", *map(str, argv)]


def environment() -> dict[str, str]:
    """One thread: the models of these tests are too small for more."""
    return os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def start(*argv: str | Path, cwd: Path, **more: Any) -> subprocess.Popen[bytes]:
    """`sana-stream` as a process; `more` is for `Popen`."""
    pipe = subprocess.PIPE
    process: Any = subprocess.Popen(
        command(argv), cwd=cwd, env=environment(), stdin=pipe, stdout=pipe, stderr=pipe, **more
    )
    return process


def pictures(path: Path | str) -> np.ndarray:
    """All frames of a video file, or of the PNG files in a folder, uint8 (T, H, W, 3)."""
    files = sorted(Path(path).glob("*.png")) if Path(path).is_dir() else [Path(path)]
    return np.concatenate([_decoded(file) for file in files])


def _decoded(file: Path) -> np.ndarray:
    with av.open(f"file:{file}") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames)
