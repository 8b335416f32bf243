"""Lines that somebody types while a run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from io import FileIO


def typed_lines(descriptor: int = 0) -> Iterator[str]:
    """The lines of standard input as they come; what is not UTF-8 is replaced.

    They are read past `sys.stdin`: a thread that waits inside its buffer at the end of a program
    would keep the interpreter from ending.
    """
    with FileIO(descriptor, closefd=False) as file:
        for line in file:
            yield line.decode(errors="replace")
