"""The external programs that tests use: those on PATH, ffmpeg from PyPI, or none.

`pytest` uses what is installed, and the ffmpeg of the package imageio-ffmpeg where there is no
other. `pytest --hide-programs` runs the tests marked `programs` once more, with nothing on PATH
but what every system has: no assertion may depend on what is installed.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

# what a system without any of these programs still has: POSIX utilities, and a bash if there is one
KEPT = (
    *("sh", "bash", "env", "cat", "tee", "head", "tail", "wc", "sleep", "echo", "printf", "true"),
    *("false", "nice", "rm", "mv", "cp", "ls", "mkdir", "touch", "kill", "grep", "sed", "seq"),
    *("gcc", "cc", "c++", "g++", "ld", "as", "uname"),
)


def need(*programs: str) -> None:
    """Skip the test that calls this unless all the programs are there."""
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip the decorated test unless all the programs are there."""
    absent = [program for program in programs if not shutil.which(program)]
    return pytest.mark.skipif(bool(absent), reason=f"{', '.join(absent)} not installed")


def add_ffmpeg() -> None:
    """Append the ffmpeg of PyPI to PATH."""
    if shutil.which("ffmpeg") or sys.platform == "win32":
        return
    try:
        import imageio_ffmpeg

        program = imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return
    _link({"ffmpeg": program}, os.environ.get("PATH", ""))


def hide_programs() -> None:
    """Reduce PATH to the programs that every system has."""
    if sys.platform == "win32":
        return
    kept = {name: path for name in KEPT if (path := shutil.which(name))}
    _link(kept | {Path(sys.executable).name: sys.executable}, "")


def _link(programs: dict[str, str], path: str) -> None:
    """Add a folder of links to PATH, for this process and its child processes."""
    folder = tempfile.mkdtemp(prefix="sana-stream-programs-")
    for name, program in programs.items():
        os.symlink(program, os.path.join(folder, name))
    os.environ["PATH"] = os.pathsep.join(part for part in (path, folder) if part)
