"""The command as a process: signals, standard output and input, loaded packages."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from sana_stream.engine.story.read import read_story

from ..command import command, complete, environment, pictures, start

pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(os.name != "posix", reason="signals and pipes as POSIX has them"),
]
PROMPT = ("--prompt", "a red boat")


def wait_for(what: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.02)


def size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_finishes_the_block_and_closes_the_file(
    tmp_path: Path, tiny_folder: Path, number: signal.Signals
) -> None:
    process = start(
        *(*PROMPT, "--endless", "--model", tiny_folder, "--out", "a.mp4"),
        cwd=tmp_path,
        fresh=number == signal.SIGINT,
        light=True,
    )
    wait_for(lambda: size(tmp_path / "a.mp4") > 20_000)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert out == b""
    assert b"finishing this block and closing the video" in err
    said = re.search(rb"^(\d+) frames, .* of video in ", err, re.MULTILINE)
    assert said is not None
    frames = len(pictures(tmp_path / "a.mp4"))
    assert frames == int(said[1])
    assert frames % 8 == 1  # whole blocks
    assert b"Traceback" not in err


def test_second_signal_stops_immediately(tmp_path: Path, tiny_folder: Path) -> None:
    # Standard output is never read: only the signal can end this run.
    process = start(
        *PROMPT,
        "--endless",
        "--model",
        tiny_folder,
        *("--out", "-", "--out", "a.mkv"),
        cwd=tmp_path,
    )
    wait_for(lambda: size(tmp_path / "a.mkv") > 20_000)
    os.kill(process.pid, signal.SIGSTOP)
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGTERM)
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(120) in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    process.communicate(timeout=120)
    assert len(pictures(tmp_path / "a.mkv")) % 8 == 1


def test_signal_before_first_block_leaves_no_file(tmp_path: Path, tiny_folder: Path) -> None:
    words = (*PROMPT, "--endless", "--model", tiny_folder, "--out", "a.mp4")
    process = start(*words, cwd=tmp_path, hold=-1)
    wait_for(lambda: (tmp_path / ".a.sana-stream.lock").exists())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.splitlines()[-1] == b"sana-stream: stopped before the first block"
    assert list(tmp_path.iterdir()) == []


def test_killed_run_leaves_every_complete_block(tmp_path: Path, tiny_folder: Path) -> None:
    process = start(*PROMPT, "--endless", "--model", tiny_folder, "--out", "a.mp4", cwd=tmp_path)
    wait_for(lambda: size(tmp_path / "a.mp4") > 20_000)
    process.kill()
    process.communicate(timeout=120)
    frames = len(pictures(tmp_path / "a.mp4"))
    assert frames > 9
    assert frames % 8 == 1
    assert b"a red boat" in (tmp_path / "a.vtt").read_bytes()


def test_standard_output_contains_only_the_video(tmp_path: Path, tiny_folder: Path) -> None:
    # A library's output must not get between the frames: here a library is made to print.
    chatter = "import os, sys; print('hello from a library'); os.system('echo and from a child')"
    (tmp_path / "sitecustomize.py").write_text("")
    (tmp_path / "run.py").write_text(
        "import sys\n"
        "import sana_stream.streaming.run.model as runner\n"
        "load = runner.load_engine\n"
        f"def chatty(*argv, **more):\n    {chatter}\n    return load(*argv, **more)\n"
        "runner.load_engine = chatty\n"
        "from sana_stream.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    argv = ["run.py", *PROMPT, "--frames", "20", "--model", str(tiny_folder), "--out", "-"]
    raw = complete([sys.executable, *argv, "--format", "rawvideo"], cwd=tmp_path)
    assert raw.returncode == 0
    assert len(raw.stdout) == 20 * 32 * 48 * 3
    assert b"hello from a library" in raw.stderr
    assert b"and from a child" in raw.stderr
    frames = np.frombuffer(raw.stdout, np.uint8).reshape(20, 32, 48, 3)
    outs = ("--out", "-", "--out", "frames/%04d.png")
    both = complete(command([*argv[1:-2], *outs]), cwd=tmp_path)
    assert np.array_equal(pictures(tmp_path / "frames"), frames)
    with av.open(io.BytesIO(both.stdout), "r") as video:
        assert video.format.name.startswith("matroska")
        assert len(list(video.decode(video=0))) == 20


def test_reader_that_disconnects_ends_the_run_normally(tmp_path: Path, tiny_folder: Path) -> None:
    argv = (*PROMPT, "--endless", "--model", tiny_folder, "--out", "-", "--format", "rawvideo")
    process = start(*argv, cwd=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(100_000)
    process.stdout.close()
    assert process.wait(120) == 0
    err = process.stderr.read()
    process.stderr.close()
    assert b"the reader has closed it" in err
    assert b"Traceback" not in err


def test_video_to_a_terminal_is_refused(tmp_path: Path, tiny_folder: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    argv = [*PROMPT, "--frames", "9", "--model", str(tiny_folder), "--out", "-"]
    process = subprocess.run(
        command(argv), cwd=tmp_path, stdout=theirs, stderr=subprocess.PIPE, timeout=120
    )
    os.close(theirs)
    os.close(ours)
    assert process.returncode == 2
    assert process.stderr.startswith(b"sana-stream: standard output is a terminal")
    assert process.stderr.count(b"\n") == 1


def test_story_is_read_from_standard_input(tmp_path: Path, tiny_folder: Path) -> None:
    argv = ["--prompt-file", "-", "--seconds", "1", "--model", str(tiny_folder)]
    story = "\ufeffa fox\r\n0:00.5 the moon\r\n".encode()
    done = complete(command(argv), cwd=tmp_path, typed=story)
    assert done.returncode == 0, done.stderr
    assert b"the moon" in (tmp_path / "sana-stream.vtt").read_bytes()
    assert len(pictures(tmp_path / "sana-stream.mp4")) == 16


@pytest.mark.parametrize(
    ("argv", "heavy"),
    [
        (["--help"], ("torch", "av", "numpy", "rich", "pydantic")),
        (["--version"], ("torch", "av", "numpy", "rich", "pydantic")),
        (["--promt", "a"], ("torch", "av", "numpy", "rich", "pydantic")),
        (["--prompt", "a", "--fps", "x"], ("torch", "av", "numpy", "rich", "pydantic")),
        (["--prompt", "a", "--watch"], ("torch", "av", "numpy")),
        (["--prompt-file", "nowhere.txt"], ("torch",)),
        (["resume", "--help"], ("torch", "av", "numpy")),
        (["branch", "--help"], ("torch", "av", "numpy")),
        (["info", "--help"], ("torch", "av", "numpy")),
        (["convert", "--help"], ("torch", "av", "numpy")),
        (["bench", "--help"], ("torch", "av")),
    ],
)
def test_quick_answers_load_no_heavy_packages(
    tmp_path: Path, argv: list[str], heavy: tuple[str, ...]
) -> None:
    code = (
        "import sys, runpy, atexit\n"
        f"loaded = lambda: [name for name in {heavy!r} if name in sys.modules]\n"
        "atexit.register(lambda: sys.stderr.write(f'loaded: {loaded()}'))\n"
        f"sys.argv = ['sana-stream', *{argv!r}]\n"
        "runpy.run_module('sana_stream.cli', run_name='__main__')\n"
    )
    done = complete([sys.executable, "-c", code], cwd=tmp_path, fresh=True)
    assert done.stderr.endswith(b"loaded: []"), done.stderr


def test_typed_lines_control_the_stream(tmp_path: Path, tiny_folder: Path) -> None:
    process = start(
        *PROMPT, "--interactive", "--model", tiny_folder, "--out", "a.mp4", cwd=tmp_path
    )
    assert process.stdin is not None
    wait_for(lambda: size(tmp_path / "a.mp4") > 10_000)
    process.stdin.write(b"the \xff night\r\n")
    process.stdin.flush()
    captions = tmp_path / "a.vtt"
    wait_for(lambda: "night" in captions.read_text("utf-8"))
    out, err = process.communicate(b"/stop\n", timeout=120)
    assert process.returncode == 0, err
    assert out == b""
    said = re.search(r"from frame (\d+) \(.*\): the \ufffd night\n", err.decode())
    assert said is not None, err
    story = read_story(captions)
    assert [cue.prompt for cue in story.cues] == ["a red boat", "the \ufffd night"]
    assert round((story.cues[1].start_seconds or 0) * 16) == int(said[1])


def test_pending_keyboard_read_does_not_block_exit(tmp_path: Path, tiny_folder: Path) -> None:
    argv = (*PROMPT, "--interactive", "--no-realtime", "--frames", "9", "--model", tiny_folder)
    process = start(*argv, cwd=tmp_path, fresh=True, light=True)
    assert process.wait(120) == 0
    assert process.stderr is not None
    assert b"Fatal" not in process.stderr.read()
    process.communicate(timeout=120)


def test_terminal_of_zero_columns_prints_everything(tmp_path: Path) -> None:
    argv = command(["--prompt", "a boat", "--frames", "1", "--out", "o.mp4"])
    ended = complete(argv, cwd=tmp_path, env=environment() | {"COLUMNS": "0", "LINES": "0"})
    assert ended.returncode == 0
    assert b"the video is in o.mp4" in ended.stderr
