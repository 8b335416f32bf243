"""How long a thread of this process was kept from running Python, though the machine would let it.

Calls into C that do not give the interpreter up stop every other thread: the web page, signals,
the making of the next block. A ticking thread sees them as ticks that come late. Other reasons to
be late are taken off: Linux counts for each thread how long it was ready and waited for a
processor (/proc/PID/task/TID/schedstat).
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

TICK = 0.002  # seconds
_SUSPECT = 0.01  # a tick that is not so late is not worth a closer look


class Held:
    """Ticks while it is entered; `longest` is the longest hold seen, `late` the latest tick.

    A hold is how late a tick came, less the time for which this process's threads waited for a
    processor meanwhile: whoever held the interpreter may have been one of them. So a loaded machine
    makes holds look shorter, never longer. Both are in seconds.
    """

    def __init__(self) -> None:
        self.longest = self.late = 0.0
        self._done = threading.Event()
        self._ticking = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="ticks", daemon=True)

    def __enter__(self) -> Held:
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
            late = now - before - TICK
            self.late = max(self.late, late)
            waited, waited_before = _waited(), waited
            if late > _SUSPECT:
                queued = sum(waited[thread] - waited_before.get(thread, 0.0) for thread in waited)
                self.longest = max(self.longest, late - queued)
            before = time.monotonic()


def _waited() -> dict[int, float]:
    """Seconds for which each Python thread has been ready without a processor so far."""
    found = {}
    for thread in threading.enumerate():
        with suppress(OSError):  # it has ended, or this is not Linux
            counted = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text()
            found[thread.native_id] = int(counted.split()[1]) * 1e-9
    return found
