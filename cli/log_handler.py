"""The library's log on the command line: one handler, which prints records as notes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .flags import with_flags

LIBRARY = logging.getLogger("sana_stream")


class NoteHandler(logging.Handler):
    """Prints each log record as one line through `note`, with options in place of parameters."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self.note = note

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record; a failure to print it is handled as by other handlers."""
        try:
            self.note(with_flags(record.getMessage()))
        except Exception:
            self.handleError(record)


@contextmanager
def show_log(note: Callable[[str], None], level: int = logging.WARNING) -> Iterator[None]:
    """Print the library's log through `note` inside the context, and nowhere else.

    Args:
        note: takes one line; called from any thread. It must not write to standard output.
        level: the lowest level to print.
    """
    handler = NoteHandler(note)
    before = LIBRARY.level, LIBRARY.propagate
    LIBRARY.addHandler(handler)
    LIBRARY.setLevel(level)
    LIBRARY.propagate = False
    try:
        yield
    finally:
        LIBRARY.setLevel(before[0])
        LIBRARY.propagate = before[1]
        LIBRARY.removeHandler(handler)
