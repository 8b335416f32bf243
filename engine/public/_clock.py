"""The date. Durations and time limits are measured with the monotonic clock instead."""

from __future__ import annotations

import time


def wall_time() -> float:
    """Seconds since 1970, for people and clients to read; the clock may be set at any time."""
    return time.time()
