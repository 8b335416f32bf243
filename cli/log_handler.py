"""The library's log on the command line: one handler, which prints records as notes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .flags import with_flags
from .log_format import json_log
from .process import describe_error

LIBRARY = logging.getLogger("sana_stream")


class NoteHandler(logging.Handler):
    """Prints each log record as one line through `note`, with options in place of parameters.

    Where standard error is a log as JSON, that gets the record instead, unless `note` is None.
    """

    def __init__(self) -> None:
        super().__init__()
        self.note: Callable[[str], None] | None = None
        self.words: Callable[[str], str] = with_flags

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record; a failure to print it is handled as by other handlers."""
        try:
            if self.note is None:
                return
            line = self.words(record.getMessage())
            if record.exc_info and record.exc_info[1] is not None:
                line = f"{line}: {describe_error(record.exc_info[1])}"
            if (log := json_log()) is not None:
                log.record(record, line)
            else:
                self.note(line)
        except Exception:
            self.handleError(record)


@contextmanager
def show_log(
    note: Callable[[str], None] | None,
    level: int = logging.WARNING,
    words: Callable[[str], str] = with_flags,
) -> Iterator[None]:
    """Print the library's log through `note` inside the context, and nowhere else.

    The handler is installed by the outermost context. An inner context changes where its lines go
    and from which level on, until it is left.

    Args:
        note: takes one line; called from any thread. It must not write to standard output. None:
            nothing is printed.
        level: the lowest level to print.
        words: puts a message into the words of the command line.
    """
    handler = next((known for known in LIBRARY.handlers if isinstance(known, NoteHandler)), None)
    before = LIBRARY.level, LIBRARY.propagate
    outer = None if handler is None else (handler.note, handler.words)
    if handler is None:
        handler = NoteHandler()
        LIBRARY.addHandler(handler)
    handler.note, handler.words = note, words
    LIBRARY.setLevel(level)
    LIBRARY.propagate = False
    try:
        yield
    finally:
        LIBRARY.setLevel(before[0])
        LIBRARY.propagate = before[1]
        if outer is None:
            LIBRARY.removeHandler(handler)
        else:
            handler.note, handler.words = outer
