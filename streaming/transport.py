"""How bytes leave the process: always with a way to stop waiting for the other side."""

from __future__ import annotations

import select
import sys
import time
from threading import Event
from typing import Protocol

from .errors import Stopped

PATIENCE = 0.5  # seconds without progress after which a run that is to stop waits no longer
PIPE_CHUNK = getattr(select, "PIPE_BUF", 1 << 16)  # a ready pipe takes so much without blocking
_SLICE = 0.1  # seconds between two looks at the stop event


class Transport(Protocol):
    """One connection to a reader."""

    def send(self, data: bytes | memoryview, seconds: float) -> None:
        """Deliver all of the data, which plays so many seconds.

        Raises Stopped when the run is to stop and nothing moves, OSError when the reader is gone
        or takes nothing for too long.
        """
        ...

    def finish(self) -> None:
        """After the last data: wait until the reader has taken it, as far as that can be known.

        Raises Stopped as `send` does, OSError when the reader has not taken all of it.
        """
        ...

    def close(self) -> None:
        """End the connection; what was sent may still be delivered."""
        ...


def await_ready(
    descriptor: int, stop: Event, *, reading: bool = False, timeout: float | None = None
) -> None:
    """Wait until a descriptor takes data (or has some), in slices, so that `stop` is seen.

    Raises Stopped when `stop` is set and nothing moved for PATIENCE seconds, TimeoutError after
    `timeout` seconds. Pipes on Windows cannot be waited for; there this returns at once.
    """
    begun, asked = time.monotonic(), None
    while not _ready(descriptor, reading):
        now = time.monotonic()
        if stop.is_set():
            asked = now if asked is None else asked
            if now - asked > PATIENCE:
                raise Stopped("the reader takes nothing; the rest is dropped")
        if timeout is not None and now - begun > timeout:
            raise TimeoutError(f"the reader took nothing for {timeout:g} s")


def _ready(descriptor: int, reading: bool) -> bool:
    if sys.platform == "win32":
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLIN if reading else select.POLLOUT)
    return bool(poll.poll(int(_SLICE * 1000)))
