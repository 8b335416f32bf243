"""Set-up and end of the process: standard streams, log, exit code."""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

from sana_stream._text import os_reason, safe_text
from sana_stream.engine.cpu_share import choose_waiting

from .log_file import LogFile, open_log, unblock
from .log_format import json_log

STDIN, STDOUT, STDERR = 0, 1, 2
MESSAGE_LIMIT = 5000  # characters of a printed line; a typed prompt has at most 4000


def prepare_process() -> None:
    """Set up the standard streams, the log and thread waiting; called before other imports.

    Afterwards a write to standard error never fails and never blocks.
    """
    choose_waiting(os.environ)
    silence_libraries(os.environ)
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


def silence_libraries(environ: MutableMapping[str, str]) -> None:
    """Let other libraries log errors only, unless the user asks for more by their variables.

    They warn of optional parts that are not installed, and of keys in published configurations
    that they do not use.
    """
    for name in ("DIFFUSERS_VERBOSITY", "TRANSFORMERS_VERBOSITY"):
        environ.setdefault(name, "error")
    for name in ("torchao", "torch.utils._pytree"):  # warnings while diffusers is imported
        logging.getLogger(name).setLevel(logging.ERROR)


def take_descriptors() -> None:
    """Open standard streams that are closed, so that no other file gets their descriptors.

    A closed standard output becomes one that cannot be written, so that video for it is refused.
    """
    for number, mode in ((STDIN, os.O_RDONLY), (STDOUT, os.O_RDONLY), (STDERR, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            # open returns the lowest free number, which is this one
            os.set_inheritable(os.open(os.devnull, mode), True)


def forget_no_width(environ: MutableMapping[str, str]) -> None:
    """Remove a terminal size of 0, as some shells without a terminal set it."""
    for name in ("COLUMNS", "LINES"):
        if name in environ and not environ[name].strip("0"):
            del environ[name]


def silence_process() -> None:
    """Print nothing: another process of the same command prints for this one."""
    null = os.open(os.devnull, os.O_WRONLY)
    for number in (STDOUT, STDERR):
        os.dup2(null, number)
    os.close(null)


@contextmanager
def stray_output() -> Iterator[None]:
    """Make prints to standard output inside the context non-blocking and unable to fail."""
    with redirect_stdout(open_log(STDOUT)):
        yield


def leave_process(code: int) -> int:
    """Flush the standard streams; returns the exit code, 1 if an answer could not be written."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)  # the interpreter flushes again
        code = code or lost_answer(error)
    raw = getattr(sys.stderr, "buffer", None)
    if isinstance(raw, LogFile):
        raw.drain()
    return code


def answer(text: str) -> None:
    """Write a result to standard output; raises SystemExit if that fails."""
    encoding = sys.stdout.encoding or "utf-8"
    try:  # what the terminal's encoding lacks is escaped
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()
    except OSError as error:
        raise SystemExit(lost_answer(error)) from error


def lost_answer(error: OSError) -> int:
    """The exit code for a result that could not be written: 0 if its reader has closed the pipe."""
    if isinstance(error, BrokenPipeError):
        return 0
    reason = os_reason(error)
    print_message(f"standard output: {reason}", "error", error=type(error).__name__)
    return 1


def print_message(message: object, level: str = "info", **fields: Any) -> None:
    """Print one line on standard error; a log as JSON has the level and further fields."""
    text = safe_text(message, MESSAGE_LIMIT)
    if (log := json_log()) is not None:
        log.message(text, level, **fields)
    else:
        sys.stderr.write(f"sana-stream: {text}\n")


def report_thread(args: Any) -> None:
    """Print the uncaught error of a thread; the run continues."""
    if args.exc_type is SystemExit:
        return
    name = "a thread" if args.thread is None else args.thread.name
    what = describe_error(args.exc_value or args.exc_type)
    message = f"{name} has failed: {what}; the run continues"
    print_message(message, "error", error=args.exc_type.__name__)
    _trace(args.exc_value)


def report_unraisable(args: Any) -> None:
    """Print an error that cannot be raised, such as that of a finalizer."""
    what = describe_error(args.exc_value or args.exc_type)
    print_message(f"ignored: {what}", "warning", error=args.exc_type.__name__)
    _trace(args.exc_value)


class OneLine(logging.Formatter):
    """Formats a record of a library as one line: logger, message and error, no traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        cause = f": {describe_error(record.exc_info[1])}" if record.exc_info else ""
        return safe_text(f"{record.name}: {record.getMessage()}{cause}", MESSAGE_LIMIT)


def describe_error(error: object) -> str:
    """The class of an error and its message."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _trace(error: BaseException | None) -> None:
    if error is not None and "--debug" in sys.argv:
        traceback.print_exception(error, file=sys.stderr)
