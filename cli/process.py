"""What belongs to the process as a whole; set up once, before anything else is opened or loaded."""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

from sana_stream._text import safe_text
from sana_stream.engine.cpu_share import choose_waiting

from .log_file import LogFile, open_log, unblock

STDIN, STDOUT, STDERR = 0, 1, 2
MESSAGE_LIMIT = 5000  # characters of a line that is told: a prompt has at most 4000


def prepare_process() -> None:
    """Make standard error a log that cannot end the program, and the program a good neighbour."""
    choose_waiting(os.environ)
    forget_no_width(os.environ)
    take_descriptors()
    unblock(STDERR)
    sys.stderr = open_log(STDERR)
    if sys.stdout is None:
        sys.stdout = open(STDOUT, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    threading.excepthook = report_thread
    sys.unraisablehook = report_unraisable
    logging.raiseExceptions = False
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine())
    logging.getLogger().addHandler(handler)


def take_descriptors() -> None:
    """Open what was closed at the start, so that no file of ours gets the number of a log.

    A closed standard output becomes one that cannot be written: video for it is refused.
    """
    for number, mode in ((STDIN, os.O_RDONLY), (STDOUT, os.O_RDONLY), (STDERR, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            # it gets the lowest free number, which is this one
            os.set_inheritable(os.open(os.devnull, mode), True)


def forget_no_width(environ: MutableMapping[str, str]) -> None:
    """Leave out a terminal of no columns, as some shells without one give: no line would fit it."""
    for name in ("COLUMNS", "LINES"):
        if name in environ and not environ[name].strip("0"):
            del environ[name]


@contextmanager
def stray_output() -> Iterator[None]:
    """What a library prints while this is entered goes out if it can, and harms nobody."""
    with redirect_stdout(open_log(STDOUT)):
        yield


def leave_process(code: int) -> int:
    """Bring out what waits; returns the exit code, another one when an answer was lost."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)  # the interpreter tries once more
        code = code or lost_answer(error)
    raw = getattr(sys.stderr, "buffer", None)
    if isinstance(raw, LogFile):
        raw.drain()
    return code


def answer(text: str) -> None:
    """Write what a program asked for to standard output; exits where that cannot be done."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as error:
        raise SystemExit(lost_answer(error)) from error


def lost_answer(error: OSError) -> int:
    """The exit code for an answer that could not be written; a reader may leave when it likes."""
    if isinstance(error, BrokenPipeError):
        return 0
    print_message(f"standard output: {(error.strerror or str(error)).lower()}")
    return 1


def print_message(message: object) -> None:
    """Say one line on standard error."""
    sys.stderr.write(f"sana-stream: {safe_text(message, MESSAGE_LIMIT)}\n")


def report_thread(args: Any) -> None:
    """The failure of a thread that nobody waits for: the run goes on, and says so."""
    if args.exc_type is SystemExit:
        return
    name = "a thread" if args.thread is None else args.thread.name
    print_message(
        f"{name} has failed: {describe_error(args.exc_value or args.exc_type)}; the run goes on"
    )
    _trace(args.exc_value)


def report_unraisable(args: Any) -> None:
    """An error in a place from which it cannot reach anybody, such as a finalizer."""
    print_message(f"ignored: {describe_error(args.exc_value or args.exc_type)}")
    _trace(args.exc_value)


class OneLine(logging.Formatter):
    """A library's own messages: who says it and what, without a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        cause = f": {describe_error(record.exc_info[1])}" if record.exc_info else ""
        return safe_text(f"{record.name}: {record.getMessage()}{cause}", MESSAGE_LIMIT)


def describe_error(error: object) -> str:
    """The class of an error and its message."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _trace(error: BaseException | None) -> None:
    if error is not None and "--debug" in sys.argv:
        traceback.print_exception(error, file=sys.stderr)
