"""`sana-stream`: make a video and show how far it is."""

from __future__ import annotations

import logging
from collections.abc import Callable

from rich.console import Console

from sana_stream.cli.console import (
    PlainReporter,
    QuietReporter,
    Reporter,
    TerminalReporter,
    closing_lines,
)
from sana_stream.cli.json_reporter import JsonReporter
from sana_stream.cli.keyboard import read_keyboard
from sana_stream.cli.log_format import json_log
from sana_stream.cli.log_handler import show_log
from sana_stream.cli.options import Options
from sana_stream.cli.run_config import run_config
from sana_stream.cli.signals import SignalHandler
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.run.runner import Run


def generate(options: Options, stdout: int | None) -> int:
    """Make the video that the options ask for; returns the exit code.

    Args:
        options: as parsed.
        stdout: the descriptor for video on standard output, where an output is that.

    Raises:
        SanaStreamError, OSError: as the run raises them.
    """

    def start(control: LiveControl) -> Run:
        return Run(None, run_config(options), control=control, stdout=stdout)

    return make_video(start, quiet=options.quiet, interactive=options.interactive)


def make_video(start: Callable[[LiveControl], Run], *, quiet: bool, interactive: bool) -> int:
    """Make a run's video and show its progress; returns the exit code.

    A signal before the first block ends the run at once, a later one after the current block.

    Args:
        start: makes the run that the given control directs.
        quiet: show errors only.
        interactive: read prompts and commands from standard input.

    Raises:
        SanaStreamError, OSError: as the run raises them.
    """
    reporter = choose_reporter(quiet, interactive)
    note = None if quiet else reporter.note
    with SignalHandler(announce=not quiet) as stop, show_log(note, logging.INFO):
        run = start(LiveControl(stop.requested))
        with run:
            if interactive:
                read_keyboard(run.control)
            reporter.plan(run.plan, run.config.targets)
            with stop.interruptible():
                run.load()
            with reporter.running(run.progress):
                for progress in run:
                    reporter.block(progress)
        if run.progress.frames == run.progress.resumed_frames:
            stop.check()
        for line in closing_lines(run.progress, run.config.files):
            reporter.note(line)
        return stop.exit_code


def choose_reporter(quiet: bool, interactive: bool) -> Reporter:
    """A display on a terminal, unless lines are typed there, and plain lines anywhere else.

    Where standard error is a log as JSON, objects.
    """
    if quiet:
        return QuietReporter()
    if (log := json_log()) is not None:
        return JsonReporter(log)
    console = Console(stderr=True)
    moving = console.is_terminal and not interactive  # it would move what is being typed
    return TerminalReporter(console) if moving else PlainReporter(console)
