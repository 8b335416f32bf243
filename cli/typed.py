"""Lines that somebody types while a run goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from io import FileIO

LINE_BYTES = 64 << 10  # far more than the 4000 characters that a prompt may have


def typed_lines(descriptor: int = 0) -> Iterator[str]:
    """The lines of standard input as they come; what is not UTF-8 is replaced.

    They end with the input, and where it cannot be read any more (a terminal that has gone). Of a
    longer line than anybody types only the beginning is kept.

    They are read past `sys.stdin`: a thread that waits inside its buffer at the end of a program
    would keep the interpreter from ending.
    """
    with contextlib.suppress(OSError), FileIO(descriptor, closefd=False) as file:
        while line := file.readline(LINE_BYTES):
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = file.readline(LINE_BYTES)
            yield line.decode(errors="replace")
