"""`--log-format json`: every line on standard error is one object, whichever code writes it."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from rich.console import Console

from sana_stream.cli.log_file import open_log
from sana_stream.cli.log_format import JsonLog, json_log, log_format
from sana_stream.cli.main import main
from sana_stream.cli.process import print_message

from ..command import run, start

TIME = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
LOG = logging.getLogger("sana_stream.streaming.outputs.file")


def objects(text: str | bytes) -> list[dict[str, Any]]:
    """The objects of a log; each line must be one, with the fields that all have."""
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert re.fullmatch(TIME, line["time"]), line
        assert line["level"] in ("debug", "info", "warning", "error", "critical")
        assert line["logger"]
        assert line["message"]
    return lines


@pytest.mark.parametrize("argv", [("--log-format", "json"), ("--log-format=json",)])
def test_log_of_a_run_is_json(
    tmp_path: Path, tiny_folder: Path, capfd: pytest.CaptureFixture[str], argv: tuple[str, ...]
) -> None:
    out = tmp_path / "a.mp4"
    words = ("--prompt", "a red boat", "--frames", "9", "--model", tiny_folder, "--out", out)
    assert run(*words, *argv) == 0
    printed = capfd.readouterr()
    assert printed.out == ""
    lines = objects(printed.err)
    assert not isinstance(sys.stderr, JsonLog)
    (plan,) = (line for line in lines if "prompts" in line)
    assert plan["prompts"] == [{"seconds": 0.0, "prompt": "a red boat"}]
    assert (plan["frames"], plan["outputs"]) == (9, [str(out)])
    done = [line for line in lines if "blocks" in line][-1]
    assert done["frames"] == 9
    assert done["speed"] > 0
    assert lines[-1]["message"].startswith(("the video is in", "play it"))


@pytest.mark.parametrize(
    ("argv", "code", "error"),
    [
        (("--nonsense",), 2, None),
        (("serve", "--root-path", "/x/"), 2, None),
        (("--prompt", "a", "--out", "/nowhere/a.mp4", "--frames", "9"), 2, "InvalidOutputError"),
        (("info", "/nowhere/model"), 2, "ConfigError"),
        (("resume", "nowhere.mp4"), 2, "ConfigError"),
    ],
)
def test_failures_are_one_object(
    capfd: pytest.CaptureFixture[str], argv: tuple[str, ...], code: int, error: str | None
) -> None:
    assert run(*argv, "--log-format", "json") == code
    (line,) = objects(capfd.readouterr().err)
    assert (line["level"], line.get("error")) == ("error", error)
    assert "Traceback" not in json.dumps(line)


def test_traceback_is_a_field(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("resume", "nowhere.mp4", "--log-format", "json", "--debug") == 2
    (line,) = objects(capfd.readouterr().err)
    assert line["traceback"].startswith("Traceback (most recent call last)")


def test_records_have_level_logger_stream_and_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def log(args: Namespace) -> int:
        LOG.warning("%s exists: add overwrite=True", "a.mp4", exc_info=OSError("the disk is full"))
        thread = Thread(target=lambda: LOG.error("not\nwritten \udcff"), name="stream 12")
        thread.start()
        thread.join()
        logging.getLogger("of.a.library").error("strange")
        Console(stderr=True).print("shown [bold]so[/bold]")
        sys.stderr.write("no end of the line")
        return 0

    monkeypatch.setattr("sana_stream.cli.main._generate", log)
    handler = logging.StreamHandler()
    logging.getLogger().addHandler(handler)
    try:
        assert main(["--prompt", "a", "--log-format", "json"]) == 0
    finally:
        logging.getLogger().removeHandler(handler)
    first, second, third, *others = objects(capfd.readouterr().err)
    assert (first["level"], first["logger"], first["error"]) == ("warning", LOG.name, "OSError")
    assert first["message"] == "a.mp4 exists: add --overwrite: OSError: the disk is full"
    assert (second["stream"], second["message"]) == (12, "not\nwritten \udcff")
    assert "stream" not in first
    assert (third["logger"], third["message"]) == ("of.a.library", "strange")
    assert [line["message"] for line in others] == ["shown so", "no end of the line"]


def test_quiet_writes_errors_only(
    tmp_path: Path, tiny_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("--prompt", "a", "--frames", "9", "--model", tiny_folder, "--log-format", "json")
    assert run(*words, "--quiet", "--out", tmp_path / "a.mp4") == 0
    assert capfd.readouterr().err == ""


def test_text_stays_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    with log_format(["--log-format", "text"]):
        assert json_log() is None
        print_message("hello", "error", error="X")
    assert capfd.readouterr().err == "sana-stream: hello\n"


def test_lost_lines_are_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of a pipe takes nothing for a while."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    file = open_log(write)
    monkeypatch.setattr(sys, "stderr", file)
    with log_format(["--log-format=json"]):
        for _ in range(100):  # more than the pipe and the buffer hold
            print_message("x" * 4900)
        received = b""
        while not received.endswith(b'written here"}\n'):
            received += os.read(read, 1 << 20)
            file.buffer.drain(0.1)  # type: ignore[attr-defined]
    lines = objects(received)
    assert f"{101 - len(lines)} lines could not" in lines[-1]["message"]
    for descriptor in (read, write):
        os.close(descriptor)


def test_server_logs_streams_and_signals(tmp_path: Path, tiny_folder: Path) -> None:
    argv = ("--port", "0", "--model", tiny_folder, "--prompt", "a fox", "--log-format", "json")
    process = start("serve", *argv, cwd=tmp_path, light=True)
    try:
        assert process.stderr is not None
        first = process.stderr.readline()
        lines = [json.loads(first)]
        while not any("blocks" in line or "prompts" in line for line in lines):
            lines.append(json.loads(process.stderr.readline()))
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    assert "the page is at http://127.0.0.1:" in lines[0]["message"]
    assert lines[-1]["stream"] == 1
    assert any("finishing this block" in line["message"] for line in objects(rest))


def test_json_comes_from_a_process_of_its_own(tmp_path: Path) -> None:
    """Standard error is set up by the process itself, and may be closed."""
    words = [sys.executable, "-m", "sana_stream.cli", "--log-format=json", "--nonsense"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True)
    assert done.returncode == 2
    (line,) = objects(done.stderr)
    assert "--nonsense is not an option" in line["message"]
