"""Lines that somebody types while a run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from io import FileIO

_LINE = 1 << 16  # bytes


def typed_lines(descriptor: int = 0) -> Iterator[str]:
    """The lines of standard input as they come; what is not UTF-8 is replaced.

    Of a line of more than 64 KiB, which is no prompt, the rest is left out.

    They are read past `sys.stdin`: a thread that waits inside its buffer at the end of a program
    would keep the interpreter from ending.
    """
    with FileIO(descriptor, closefd=False) as file:
        while line := file.readline(_LINE):
            yield line.decode(errors="replace")
            while len(line) == _LINE and not line.endswith(b"\n"):
                line = file.readline(_LINE)
