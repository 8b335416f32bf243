"""Prompts and commands that are typed while a stream is made."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from io import FileIO

from sana_stream.streaming.control.live_control import COMMANDS, LiveControl, read_lines

LINE_BYTES = 64 << 10  # far more than the 4000 characters that a prompt may have
logger = logging.getLogger(__name__)


def read_keyboard(control: LiveControl) -> None:
    """Send every line of standard input to a run, from a thread."""
    logger.info("type a prompt, or one of: %s", ", ".join(COMMANDS))
    read_lines(typed_lines(), control)


def typed_lines(descriptor: int = 0) -> Iterator[str]:
    """The lines of standard input as they come; bytes that are not UTF-8 are replaced.

    They end with the input, and where it cannot be read any more (a terminal that was closed). Only
    the first 64 KiB of a line are kept.

    They are read past `sys.stdin`: a thread that waits inside its buffer at the end of a program
    would keep the interpreter from ending.
    """
    with contextlib.suppress(OSError), FileIO(descriptor, closefd=False) as file:
        while line := file.readline(LINE_BYTES):
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = file.readline(LINE_BYTES)
            yield line.decode(errors="replace")
