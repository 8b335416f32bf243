"""A file without a buffer of its own, whose writes are whole or an error."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class UnbufferedFile(io.FileIO):
    """What `write` has taken is with the system, so a killed process loses none of it."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write everything; OSError (no space, a failed disk) may leave a part written."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            done += super().write(view[done:]) or 0
        return done
