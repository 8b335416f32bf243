"""The resident memory of this process on Linux, at its peak."""

from __future__ import annotations

from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def peak_memory() -> int:
    """The most resident memory so far, in bytes.

    `ru_maxrss` is no measure of it: at exec it takes over the peak of the process that started
    this one.
    """
    return int(_STATUS.read_text().partition("VmHWM:")[2].split()[0]) << 10


def reset_peak_memory() -> int:
    """Begin a new peak, at the present resident memory, which is returned; raises OSError."""
    _CLEAR.write_text("5")
    return peak_memory()
