"""Every option with invalid values: accepted, or refused on one line, quickly, without loss."""

from __future__ import annotations

import random
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sana_stream.cli.main import COMMANDS
from sana_stream.cli.parser import build_parser

from ..command import command, environment, run

NONSENSE = (
    "", " ", "nan", "inf", "-0", "-1", "1e400", "1e-400", "9" * 5000, "9" * 4000, "१२", "1.5",
    "0x0", "99984x99984", "1e300", "a\x1b[31mb\x07", "\udcff", "--", "-", "/", "..", ".",
    "window=999999999", "window=10000,sink=1", "decay=1e-5", "1,", "900,nan", ",",
    "1000," * 3000 + "1", "1/0", "1e999999999", "0", "1000000000000000000", "tcp://", "tcp://[",
    "gopher://x", "udp://:1", "unix://", "a.b.c", "x\ny", "%s%n", "~nobody/x.mp4", "a" * 5000,
    "0.0000000001s", "999999999h", "off", "\u202egpj.mp4", "none", "True",
)  # fmt: skip
BESIDE = {
    "--window": ("--out", "live/l.m3u8"),
    "--format": ("--out", "udp://127.0.0.1:9"),
    "--segment": ("--out", "s.mp4"),
    "--watch": ("--prompt-file", "nowhere.txt"),
}
# --web opens a port, and images have their own tests
LEFT_OUT = ("--web", "--help", "--version", "--debug", "--image", "--video")


class Reached(BaseException):
    """Raised when the model would be loaded: every earlier check has passed."""


def options(parser: object) -> Iterator[str]:
    for action in parser._actions:  # type: ignore[attr-defined]
        for name in action.option_strings:
            if name.startswith("--") and not name.startswith("--no-") and action.nargs != 0:
                yield name


OPTIONS = [name for name in options(build_parser("")) if name not in LEFT_OUT]


@pytest.fixture
def here(tmp_path: Path, inspected: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    def load(*_: object, **__: object) -> None:
        raise Reached

    monkeypatch.setattr("sana_stream.engine.engine.Engine.load", load)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("sys.stdin", None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def outcome(*argv: str) -> int | None:
    try:
        return run(*argv)
    except Reached:
        return None


def check(capfd: pytest.CaptureFixture[str], *argv: str) -> None:
    """Check that a command is accepted or refused on one line, within seconds of CPU time."""
    begun = time.process_time()
    code = outcome(*argv)
    out, err = capfd.readouterr()
    assert time.process_time() - begun < 10
    if code is not None:
        line = err.removesuffix("\n")
        assert code in (1, 2), argv
        assert line.isprintable(), (argv, line)
        assert len(line) < 1100
        assert not re.search(r"Error\b|\bNone\b|Traceback|Errno|unexpected error", line), line
        assert out == ""


@pytest.mark.parametrize("option", OPTIONS)
def test_any_option_value_is_handled(
    here: Path, tiny_folder: Path, capfd: pytest.CaptureFixture[str], option: str
) -> None:
    base = ["--quiet", "--overwrite"]
    if option != "--model":
        base += ["--model", str(tiny_folder)]
    if option not in ("--prompt", "--prompt-file"):
        base += ["--prompt", "a red boat"]
    if option not in ("--minutes", "--seconds", "--frames"):
        base += ["--frames", "9"]
    for value in NONSENSE:
        check(capfd, *base, *BESIDE.get(option, ()), option, value)


def test_any_option_combination_is_handled(
    here: Path, tiny_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(1)
    for _ in range(150):
        words = ["--quiet", "--overwrite", "--model", str(tiny_folder)]
        for option in chance.sample(OPTIONS, 3):
            words += [option, chance.choice(NONSENSE)]
        check(capfd, *words)


@pytest.mark.parametrize("name", ["resume", "branch", "info", "convert"])
def test_any_command_arguments_are_handled(
    here: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    for value in NONSENSE:
        if value != "--":
            check(capfd, name, value, *(("out.pth",) if name == "convert" else ()))
    parser = next(command.parser() for command in COMMANDS if command.name == name)
    for option in options(parser):
        for value in NONSENSE[::3]:
            check(capfd, name, "nowhere.mp4", option, value)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--out", ""), "--out: the value is empty: give one"),
        (("--out", "/"), "--out / is a folder: give the name of a file in it"),
        (("--size", "99984x99984"), "size 99984x99984 with block_frames 2 and memory"),
        (("--block-frames", "100000"), "block_frames 100000 is out of range"),
        (("--memory", "window=999999999"), "memory window=999999999: window and sink hold at mo"),
        (("--memory", "window=" + "9" * 5000), "memory 'window=9999"),
        (("--guidance", "1e308"), "guidance 1e+308 is out of range; use a number"),
        (("--flow-shift", "1e-300"), "flow_shift 1e-300: give 0.001 to 1000"),
        (("--minutes", "1e300"), "--minutes: 1e300 is not possible: give at most 16666666, or -"),
        (("--frames", "1" + "0" * 18), "--frames: 1000000000000000000 is not possible: give at"),
        (("--seed", "9" * 4000), "--seed: a number of 4000 digits is not possible"),
        (("--fps", "1e999999999"), "--fps: '1e999999999' is not a frame rate: give 16, 23.976"),
        (("--fps", "-5"), "--fps: -5 is not possible: give more than 0"),
        (("--fps", "1000000"), "--fps: 1000000 is not possible: give 0.001 to 1000"),
        (("--checkpoint-every", "9" * 400), "--checkpoint-every: 999999999"),
        (("--codec", "h265"), "codec h265: 48x32 is too small for its encoder, which takes"),
    ],
)
def test_invalid_value_message(
    here: Path,
    tiny_folder: Path,
    capfd: pytest.CaptureFixture[str],
    argv: tuple[str, ...],
    message: str,
) -> None:
    assert outcome("--prompt", "a red boat", "--model", str(tiny_folder), *argv) == 2
    err = capfd.readouterr().err
    assert err.removeprefix("sana-stream: ").startswith(message)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("words", [("resume", "."), ("resume", "-"), ("branch", "/dev/null")])
def test_unresumable_options_are_refused(
    here: Path, capfd: pytest.CaptureFixture[str], words: tuple[str, str]
) -> None:
    check(capfd, *words)


def test_closed_standard_input_is_handled(tmp_path: Path) -> None:
    script = 'exec "$@" 0<&-'
    argv = command(["--prompt-file", "-", "--frames", "1", "--out", "o.mp4"])
    ended = subprocess.run(
        ["sh", "-c", script, "sh", *argv],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr == (
        "sana-stream: standard input is closed: give the path of a prompt file\n"
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "there is not enough memory: end other programs"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate"
                         " memory: you tried to allocate 99 bytes."),
            "there is not enough memory: end other programs",
        ),
        (OSError(28, "No space left on device", "a\x1b.mp4"), r"a\x1b.mp4: no space left on"),
        (OSError(28, "No space left on device"), "no space left on device"),
        (OSError(), "no reason is known"),
        (KeyError("moov"), "unexpected error: 'moov' (--debug prints"),
        (AssertionError(), "unexpected error: no reason is known (--debug prints"),
        (ValueError("a\nb\x1b[2J"), r"unexpected error: a b\x1b[2J (--debug prints"),
    ],
)  # fmt: skip
def test_unexpected_error_is_one_line(
    here: Path,
    tiny_folder: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    message: str,
) -> None:
    def load(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("sana_stream.engine.engine.Engine.load", load)
    argv = ("--quiet", "--prompt", "a", "--frames", "9", "--model", str(tiny_folder))
    assert outcome(*argv) == 1
    line = capfd.readouterr().err.removesuffix("\n")
    assert line.startswith(f"sana-stream: {message}")
    assert line.isprintable()
