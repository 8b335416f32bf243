"""A file without a buffer of its own, in which a write is complete or an error."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class UnbufferedFile(io.FileIO):
    """Passes every write to the system at once, so that a killed process loses nothing written."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write everything; OSError (no space, a failed disk) may leave a part written."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            done += super().write(view[done:]) or 0
        return done


def open_untouched(path: Path, may_exist: bool) -> tuple[UnbufferedFile, bool]:
    """Open a file for reading and writing, its content unchanged, and whether it was created.

    Raises:
        FileExistsError: it exists, unless `may_exist`.
        OSError: it cannot be opened.
    """
    if may_exist:
        try:
            return UnbufferedFile(path, "r+b"), False
        except FileNotFoundError:
            pass
    return UnbufferedFile(path, "x+b"), True
