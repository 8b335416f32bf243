"""The log as JSON: every line on standard error is one object."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, TextIO

from sana_stream._clock import wall_time

from .log_file import LogFile

LOGGER = "sana_stream.cli"  # of lines that no logger wrote
FORMATS = ("text", "json")
_FLAG = "--log-format"
_STREAM = re.compile(r"stream ([0-9]{1,18})")  # the thread of a stream on a server


def json_line(level: str, logger: str, message: str, **fields: Any) -> str:
    """One line of the log, in ASCII; fields that are None are left out."""
    now = datetime.fromtimestamp(wall_time(), UTC).isoformat(timespec="milliseconds")
    time = now.replace("+00:00", "Z")
    given = {name: value for name, value in fields.items() if value is not None}
    line = {"time": time, "level": level, "logger": logger, "message": message} | given
    return json.dumps(line, default=str) + "\n"


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object, with the stream and the class of the error."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        return format_record(record, record.getMessage()).rstrip("\n")


def format_record(record: logging.LogRecord, message: str) -> str:
    """A record as one line, with another message."""
    thread = _STREAM.fullmatch(record.threadName or "")
    cause = record.exc_info[1] if record.exc_info else None
    return json_line(
        record.levelname.lower(),
        record.name,
        message,
        stream=int(thread[1]) if thread else None,
        error=None if cause is None else type(cause).__name__,
    )


class JsonLog(io.TextIOBase):
    """A text stream that writes each line as a JSON object.

    Args:
        file: takes the objects.
    """

    def __init__(self, file: TextIO) -> None:
        super().__init__()
        self.file = file
        self._begun = threading.local()  # of each thread, the line that has no end yet

    def write(self, text: str, /) -> int:
        """Write the lines that are complete, at the level info."""
        *lines, rest = (getattr(self._begun, "text", "") + text).split("\n")
        self._begun.text = rest
        for line in lines:
            if line.strip():
                self.message(line.removeprefix("sana-stream: "))
        return len(text)

    def message(self, text: str, level: str = "info", **fields: Any) -> None:
        """Write one message with further fields."""
        self.file.write(json_line(level, LOGGER, text, **fields))

    def record(self, record: logging.LogRecord, message: str) -> None:
        """Write a log record with another message."""
        self.file.write(format_record(record, message))

    def flush(self) -> None:
        """Nothing: lines are written at once."""

    def writable(self) -> bool:
        """True."""
        return True

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride] - read only
        """That of the stream below."""
        return self.file.encoding


def json_log() -> JsonLog | None:
    """Standard error, where it is a log as JSON."""
    return sys.stderr if isinstance(sys.stderr, JsonLog) else None


@contextmanager
def log_format(argv: Sequence[str]) -> Iterator[None]:
    """Write standard error as a command line asks, also before it is parsed."""
    pairs = {"=".join(pair) for pair in pairwise(argv)}
    if f"{_FLAG}=json" not in pairs.union(argv):
        yield
        return
    below = sys.stderr
    log = JsonLog(below)
    handlers = [(handler, handler.formatter) for handler in logging.getLogger().handlers]
    raw = getattr(below, "buffer", None)
    for handler, _ in handlers:
        handler.setFormatter(JsonFormatter())
    if isinstance(raw, LogFile):
        raw.report_lost = lambda what: json_line("warning", LOGGER, what)
    sys.stderr = log
    try:
        yield
    finally:
        log.write("\n")  # ends a line that has none
        sys.stderr = below
        for handler, formatter in handlers:
            handler.setFormatter(formatter)
