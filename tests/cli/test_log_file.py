"""With any broken standard error the video is complete and contains nothing of the log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ..command import command, complete, environment, forkable, light_environment, pictures, run
from ..interruptions import make_interrupted
from .broken_stderr import BROKEN, begin, terminal
from .test_guide_commands import free_port

pytestmark = pytest.mark.skipif(os.name != "posix", reason="descriptors as POSIX has them")
TIMEOUT_SECONDS = 120
STORY = "a red boat\n0:01 night \x1b[31m falls\n0:02 a \u26f5 [bold]boat[/nothing] :boat:\n"
FILM = ("--prompt-file", "s.txt", "--frames", "60", "--out", "a.mp4")


@pytest.fixture
def story(tmp_path: Path, tiny_folder: Path) -> Path:
    """A folder with a story and the video of an undisturbed run."""
    (tmp_path / "s.txt").write_text(STORY.replace("\x1b", ""), "utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> dict[bool, bytes]:
    """The video of a fork, and by True that of a new interpreter, in the light environment."""
    videos = {}
    for fresh in (False, True):
        folder = tmp_path_factory.mktemp("undisturbed")
        (folder / "s.txt").write_text(STORY.replace("\x1b", ""), "utf-8")
        process = begin((*FILM, "--model", tiny_folder), folder, fresh=fresh)
        assert process.wait(TIMEOUT_SECONDS) == 0
        videos[fresh] = (folder / "a.mp4").read_bytes()
    return videos


@pytest.mark.parametrize("broken", [*BROKEN, "never read, quiet"])
def test_video_is_complete(
    story: Path, tiny_folder: Path, undisturbed: dict[bool, bytes], broken: str
):
    kind, _, quiet = broken.partition(", ")
    how = ("--quiet",) if quiet else ()
    with BROKEN[kind]() as more:
        process = begin((*FILM, *how, "--model", tiny_folder), story, **more)
        assert process.wait(TIMEOUT_SECONDS) == 0
        fresh = not forkable(more)
    assert (story / "a.mp4").read_bytes() == undisturbed[fresh]
    assert sorted(os.listdir(story)) == ["a.mp4", "a.vtt", "s.txt"]


@pytest.mark.parametrize("broken", ["reader gone", "never read"])
def test_video_is_resumed(
    tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
):
    make_interrupted(monkeypatch, 3, "a.mp4", *tiny)
    with BROKEN[broken]() as more:
        process = begin(("resume", "a.mp4"), tmp_path, light=False, **more)
        assert process.wait(TIMEOUT_SECONDS) == 0
    assert len(pictures("a.mp4")) == 60


@pytest.mark.parametrize("broken", ["closed", "never read"])
def test_live_controlled_video_is_complete(tmp_path: Path, tiny_folder: Path, broken: str):
    argv = ("--prompt", "a red boat", "--interactive", "--no-realtime", "--frames", "60")
    with BROKEN[broken]() as more:
        given: dict[str, Any] = more | {"stdin": subprocess.PIPE}
        typed = begin((*argv, "--model", tiny_folder, "--out", "a.mp4"), tmp_path, **given)
        with suppress(BrokenPipeError):
            typed.communicate(b"the moon\n/back many\n/nothing\n" * 50, timeout=TIMEOUT_SECONDS)
    assert typed.returncode == 0
    assert len(pictures(tmp_path / "a.mp4")) == 60


@pytest.mark.parametrize("broken", ["reader gone", "terminal never read"])
def test_server_completes_its_streams(tmp_path: Path, tiny_folder: Path, broken: str):
    port = free_port()
    argv = ("serve", "--model", tiny_folder, "--port", str(port), "--record", "films")
    with BROKEN[broken]() as more:
        process = begin(argv, tmp_path, **more)
        try:
            ask(port, "/streams", {"story": "a red boat", "seconds": 2})
            while ask(port, "/streams")[0]["state"] != "finished":
                assert process.poll() is None
                time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(TIMEOUT_SECONDS) == 128 + signal.SIGTERM
    assert len(pictures(tmp_path / "films" / "stream-0001.mp4")) == 32


def ask(port: int, path: str, body: dict[str, Any] | None = None) -> Any:
    """Return the server's answer, retried until it is available."""
    data = None if body is None else json.dumps(body).encode()
    until = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data)
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                return json.load(answer)
        except OSError:
            assert time.monotonic() < until, "nobody answers"
            time.sleep(0.05)


@pytest.mark.parametrize("closed", [(2,), (0, 2), (0, 1, 2)])
def test_closed_log_is_not_written_into_a_file(
    story: Path, tiny_folder: Path, undisturbed: dict[bool, bytes], closed: tuple[int, ...]
):
    """The next file that is opened would get the free descriptor."""
    argv = command((*FILM, "--model", tiny_folder))
    script = f'exec "$@" {" ".join(f"{number}>&-" for number in closed)}'
    done = subprocess.run(["sh", "-c", script, "sh", *argv], cwd=story, env=light_environment())
    assert done.returncode == 0
    assert (story / "a.mp4").read_bytes() == undisturbed[True]


def test_video_to_closed_standard_output_is_refused(tmp_path: Path, tiny_folder: Path):
    argv = command(("--prompt", "a", "--frames", "9", "--model", tiny_folder, "--out", "-"))
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *argv],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"sana-stream: standard output is closed")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("argv", [["--help"], ["info", "--json"]])
def test_lost_answer_is_a_failure(tmp_path: Path, argv: list[str]):
    with open("/dev/full", "wb") as full:
        done = complete(command(argv), cwd=tmp_path, stdout=full)
    assert done.returncode == 1
    assert done.stderr == b"sana-stream: standard output: no space left on device\n"


@pytest.mark.parametrize(
    ("columns", "rows", "environ"),
    [
        (0, 0, {}),
        (1, 1, {}),
        (2, 1, {"TERM": "dumb"}),
        (300, 2, {"TERM": "no-such-terminal"}),
        (40, 10, {"NO_COLOR": "1", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
        (40, 10, {"PYTHONIOENCODING": "ascii:strict"}),
        (40, 10, {"PYTHONIOENCODING": "utf-16", "COLUMNS": "0", "LINES": "0"}),
        (40, 10, {"COLUMNS": "1", "TERM": ""}),
        (80, 24, {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1", "COLUMNS": "many"}),
    ],
)
def test_any_terminal_is_supported(
    story: Path,
    tiny_folder: Path,
    undisturbed: dict[bool, bytes],
    columns: int,
    rows: int,
    environ: dict[str, str],
):
    ours, theirs = terminal(columns, rows)
    fresh = any(name.startswith(("PYTHON", "LC_")) for name in environ)  # read by the interpreter
    argv = (*FILM, "--model", tiny_folder)
    process = begin(argv, story, stderr=theirs, environ=environ, fresh=fresh)
    os.close(theirs)
    said = read_all(ours)
    assert process.wait(TIMEOUT_SECONDS) == 0, said
    assert (story / "a.mp4").read_bytes() == undisturbed[fresh]
    assert b"Traceback" not in said
    assert b"Error" not in said


def read_all(descriptor: int) -> bytes:
    said = b""
    with suppress(OSError):
        while more := os.read(descriptor, 65536):
            said += more
    os.close(descriptor)
    return said


def test_late_reader_gets_every_line(story: Path, tiny_folder: Path):
    read, write = os.pipe()
    process = begin((*FILM, "--model", tiny_folder), story, stderr=write)
    os.close(write)
    said = read_all(read)
    assert process.wait(TIMEOUT_SECONDS) == 0
    assert b"the video is in a.mp4" in said
    assert said.count(b"from frame") == 2
    assert b"could not be written" not in said


def test_dropped_lines_are_counted(tmp_path: Path):
    """A late reader gets the number of dropped lines."""
    code = (
        "import sys\n"
        "from sana_stream.cli.process import prepare_process, leave_process\n"
        "prepare_process()\n"
        "for n in range(100):\n"
        "    sys.stderr.write('x' * 9999 + '\\n')\n"
        "print(flush=True)\n"
        "sys.stdin.read()\n"  # until the reader has read
        "sys.stderr.write('again\\n')\n"
        "leave_process(0)\n"
    )
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()  # everything is logged, and nothing is read yet
    said = b""
    while len(said) < 40_000:  # of the pipe's 64 KiB, some of which stays empty
        said += os.read(process.stderr.fileno(), 40_000 - len(said))
    process.stdin.close()
    said += process.stderr.read()
    assert process.wait(TIMEOUT_SECONDS) == 0
    lines = said.decode().splitlines()
    kept = sum(line == "x" * 9999 for line in lines)
    assert lines[-2] == f"sana-stream: {100 - kept} lines could not be written here"
    assert lines[-1] == "again"


def test_library_output_does_not_block():
    """Output of C code that bypasses Python's streams, and of the interpreter itself."""
    code = (
        "import os, sys, threading, warnings, logging\n"
        "from sana_stream.cli.process import prepare_process\n"
        "prepare_process()\n"
        "def fail(): raise ValueError('no')\n"
        "class Bad:\n"
        "    def __del__(self): raise ValueError('no')\n"
        "for n in range(2000):\n"
        "    warnings.warn('w' * 99, stacklevel=1)\n"
        "    logging.getLogger('library').error('l' * 99, exc_info=ValueError('no'))\n"
        "    try: os.write(2, b'c' * 99)\n"
        "    except OSError: pass\n"
        "for n in range(20):\n"
        "    Bad()\n"
        "    t = threading.Thread(target=fail); t.start(); t.join()\n"
    )
    for broken in ("never read", "terminal never read", "reader gone", "closed", "full disk"):
        with BROKEN[broken]() as more:
            process = subprocess.Popen([sys.executable, "-c", code], **more)
            assert process.wait(TIMEOUT_SECONDS) == 0, broken


def test_thread_failure_is_logged_on_one_line(tmp_path: Path):
    code = (
        "import threading, sys, logging\n"
        "from sana_stream.cli.process import prepare_process\n"
        "prepare_process()\n"
        "class Bad:\n"
        "    def __del__(self): raise ValueError('no \\x1b[31m\\n more')\n"
        "def fail(): raise ValueError('no \\x1b[31m\\n more')\n"
        "t = threading.Thread(target=fail, name='the page'); t.start(); t.join()\n"
        "Bad()\n"
        "logging.getLogger('asyncio').error('lost', exc_info=ValueError('why'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines() == [
        "sana-stream: the page has failed: ValueError: no \\x1b[31m more; the run continues",
        "sana-stream: ignored: ValueError: no \\x1b[31m more",
        "asyncio: lost: ValueError: why",
    ]


@pytest.mark.parametrize("name", ["a\x1b[31m\nb.mp4", "[red]a[b].mp4", ":boat:.mp4"])
def test_foreign_names_cannot_control_the_terminal(
    tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str], name: str
):
    assert run("--prompt", "a", "--frames", "9", "--out", name, *tiny) == 0
    said = capfd.readouterr().err
    assert "\x1b" not in said
    assert name.replace("\x1b", "\\x1b").replace("\n", " ") in said
    assert run("--prompt", "a", "--frames", "9", "--out", name, *tiny) == 2
    assert run("resume", name + "\x1b[31m") == 2
    assert run("--prompt", "a", "--frames", "\x1b[31m") == 2
    assert run("--pro\x1b[31mt", "a") == 2
    said = capfd.readouterr().err
    assert "\x1b" not in said
    assert said.count("\n") == 4
