"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

EVERY_BLOCKS = 4  # often enough for a flat curve, seldom enough to cost nothing that shows


def trim_heap() -> None:
    """Give the pages of freed memory back, where the C library can.

    Tensors that one thread makes and another one frees leave holes in glibc's heap, which it keeps:
    a stream would seem to grow for minutes. Elsewhere nothing is done.
    """
    if (trim := _malloc_trim()) is not None:
        trim(0)


@cache
def _malloc_trim() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
