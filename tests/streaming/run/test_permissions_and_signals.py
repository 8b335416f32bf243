"""Faults of the system in a separate process: folders, readers and signals."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ...command import pictures, start
from ...interruptions import wait_for

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and folders as POSIX has them")
PR_CAPBSET_DROP = 24  # prctl(2)
OVERRIDES = (1, 2)  # capabilities(7): to write and to read whatever the permissions are


def unprivileged() -> dict[str, Any]:
    """`Popen` options of a process to which permissions apply, even when tests run as root."""
    if os.geteuid():
        return {}
    if sys.platform != "linux":
        pytest.skip("root may write everywhere, and only Linux can take that from a process")
    library = ctypes.CDLL(None)

    def give_up() -> None:
        for capability in OVERRIDES:
            if library.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
                os._exit(99)

    return {"preexec_fn": give_up}


def read_until(process: subprocess.Popen[bytes], words: bytes) -> bytes:
    """Read the process's standard error until it contains a text."""
    said = b""
    assert process.stderr is not None
    while words not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    return said


Begin = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def begin(tmp_path: Path, tiny_folder: Path) -> Iterator[Begin]:
    """Start `sana-stream` with the tiny model as a process that is ended with the test."""
    processes: list[subprocess.Popen[bytes]] = []

    def started(*argv: str, **more: Any) -> subprocess.Popen[bytes]:
        words = ("--prompt", "a red boat", "--model", str(tiny_folder), *argv)
        processes.append(start(*words, cwd=tmp_path, **more))
        return processes[-1]

    yield started
    for process in processes:
        process.kill()
        process.communicate(timeout=120)


@pytest.fixture
def films(tmp_path: Path) -> Iterator[Path]:
    """A folder whose permissions are restored after the test."""
    folder = tmp_path / "films"
    folder.mkdir()
    yield folder
    folder.chmod(0o755)


def test_read_only_folder_is_refused_at_start(begin: Begin, films: Path):
    """The run exits with one line, before the model is loaded."""
    films.chmod(0o555)
    process = begin("--endless", "--out", "films/a.mp4", **unprivileged())
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2
    assert said == b"sana-stream: films/a.mp4: cannot be written: permission denied\n"
    assert list(films.iterdir()) == []


def test_folder_made_read_only_does_not_end_run(begin: Begin, films: Path):
    """The video continues without new checkpoints, logged once; the old one stays valid."""
    words = ("--frames", "200", "--checkpoint-every", "0.001s", "--out", "films/a.mp4")
    process = begin(*words, hold=20, light=True, **unprivileged())
    wait_for(films / "a.ckpt")
    films.chmod(0o555)
    (films.parent / "release").touch()
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert said.count(b"a.ckpt cannot be written: permission denied; the run continues") == 1
    assert b"films/a.ckpt cannot be removed (permission denied); the video is whole" in said
    made = pictures(films / "a.mp4")
    assert len(made) == 200
    films.chmod(0o755)
    resume = start("resume", "films/a.mp4", cwd=films.parent, fresh=True, light=True)
    _, said = resume.communicate(timeout=120)
    assert resume.returncode == 0, said
    assert (pictures(films / "a.mp4") == made).all()
    assert sorted(os.listdir(films)) == ["a.mp4", "a.vtt"]


def test_stalled_reader_does_not_block_the_signal(begin: Begin, tmp_path: Path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        server.settimeout(120)
        outs = ("--out", "a.mkv", "--out", f"unix://{tmp_path}/s", "--format", "rawvideo")
        process = begin("--endless", *outs)
        connection, _ = server.accept()
        with connection:
            before = read_until(process, b"is slower than the video is generated; waiting for it\n")
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert b"accepts no data; the rest is dropped" in said
    assert b"resume it with: sana-stream resume a.mkv" in said
    assert b"Traceback" not in before + said
    assert len(pictures(tmp_path / "a.mkv")) % 8 == 1, "only whole blocks"


def test_disconnecting_viewer_does_not_affect_the_file(begin: Begin, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(120)
        port = server.getsockname()[1]

        def watch_a_little() -> None:
            connection, _ = server.accept()
            connection.recv(2000)
            server.close()
            connection.close()
            (tmp_path / "release").touch()

        viewer = threading.Thread(target=watch_a_little, daemon=True)
        viewer.start()
        outs = ("--out", "a.mkv", "--out", f"tcp://127.0.0.1:{port}")
        process = begin("--frames", "480", *outs, hold=20)
        _, said = process.communicate(timeout=120)
        viewer.join(120)
    assert process.returncode == 0, said
    assert b"trying again" in said
    assert len(pictures(tmp_path / "a.mkv")) == 480
