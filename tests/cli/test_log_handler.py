"""The library's log on the command line: on standard error, once, and only while it runs."""

from __future__ import annotations

import contextlib
import logging
from argparse import Namespace

import pytest

from sana_stream.cli.log_handler import NoteHandler, show_log
from sana_stream.cli.main import main

LIBRARY = logging.getLogger("sana_stream")
LOG = logging.getLogger("sana_stream.streaming.outputs.file")


def run_logging(monkeypatch: pytest.MonkeyPatch, *argv: str, note: list[str] | None = None) -> None:
    """Run the command line with a run that only logs."""

    def warn(args: Namespace) -> int:
        LOG.info("opened")
        LOG.warning("%s exists: add overwrite=True", "a.mp4")
        if note is not None:
            with show_log(note.append, logging.INFO):
                LOG.info("opened")
                LOG.warning("not closed", exc_info=OSError("the disk is full"))
            LOG.info("closed")
        return 0

    monkeypatch.setattr("sana_stream.cli.main._generate", warn)
    assert main(["--prompt", "a", *argv]) == 0


def test_a_warning_is_one_line_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before = (list(LIBRARY.handlers), LIBRARY.level, LIBRARY.propagate)
    run_logging(monkeypatch)
    assert capfd.readouterr() == ("", "sana-stream: a.mp4 exists: add --overwrite\n")
    assert before == (LIBRARY.handlers, LIBRARY.level, LIBRARY.propagate)


def test_quiet_prints_no_warning(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run_logging(monkeypatch, "--quiet")
    assert capfd.readouterr() == ("", "")


def test_a_run_prints_the_log_through_its_reporter(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    notes: list[str] = []
    run_logging(monkeypatch, note=notes)
    assert notes == ["opened", "not closed: OSError: the disk is full"]
    assert capfd.readouterr().err == "sana-stream: a.mp4 exists: add --overwrite\n"


def test_the_handler_is_removed_after_an_error() -> None:
    with contextlib.suppress(KeyError), show_log(print):
        assert sum(isinstance(handler, NoteHandler) for handler in LIBRARY.handlers) == 1
        raise KeyError
    assert not any(isinstance(handler, NoteHandler) for handler in LIBRARY.handlers)


def test_a_reporter_that_fails_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(line: str) -> None:
        raise ValueError(line)

    monkeypatch.setattr("logging.raiseExceptions", False)
    with show_log(fail):
        LOG.warning("lost")
