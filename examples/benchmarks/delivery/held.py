"""Measure for how long threads of this process hold Python's global interpreter lock (GIL).

Calls into C that do not release the GIL stop every other thread: the web page, signals, the
generation of the next block. A thread that wakes periodically measures such a hold as its delay.
Time spent waiting for a processor is subtracted: Linux counts it for each thread
(/proc/PID/task/TID/schedstat).
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

TICK = 0.002  # seconds
_MIN_DELAY = 0.01  # seconds; shorter delays are not examined


class HoldMeter:
    """Context manager that measures holds of the GIL while it is entered, in seconds.

    `late` is the largest delay of a tick. `longest` is the largest delay minus the time for which
    this process's threads waited for a processor, as any of them may have held the GIL. A loaded
    machine therefore makes holds look shorter, never longer.
    """

    def __init__(self) -> None:
        self.longest = self.late = 0.0
        self._done = threading.Event()
        self._ticking = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="ticks", daemon=True)

    def __enter__(self) -> HoldMeter:
        self._thread.start()
        self._ticking.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _tick(self) -> None:
        waited, before = _waited(), time.monotonic()
        self._ticking.set()
        while not self._done.is_set():
            time.sleep(TICK)
            now = time.monotonic()
            delay = now - before - TICK
            self.late = max(self.late, delay)
            waited, waited_before = _waited(), waited
            if delay > _MIN_DELAY:
                queued = sum(waited[thread] - waited_before.get(thread, 0.0) for thread in waited)
                self.longest = max(self.longest, delay - queued)
            before = time.monotonic()


def _waited() -> dict[int, float]:
    """Seconds for which each Python thread has waited for a processor so far."""
    found = {}
    for thread in threading.enumerate():
        with suppress(OSError):  # the thread has ended, or this is not Linux
            counted = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text()
            found[thread.native_id] = int(counted.split()[1]) * 1e-9
    return found
