"""How bytes leave the process: always with a way to stop waiting for the other side."""

from __future__ import annotations

import select
import socket
import struct
import sys
import time
from pathlib import Path
from threading import Event
from typing import Protocol

from sana_stream.errors import OutputCancelled

_TABLES = {socket.AF_INET: Path("/proc/net/tcp"), socket.AF_INET6: Path("/proc/net/tcp6")}


def unread_bytes(connection: socket.socket) -> int:
    """Bytes that wait on this side, or on the reader's where that is on this machine.

    Linux tells; elsewhere it is 0, which says nothing.
    """
    if not sys.platform.startswith("linux"):
        return 0
    return _waiting_here(connection) + _waiting_there(connection)


def _waiting_here(connection: socket.socket) -> int:
    """What is not acknowledged; on a Unix socket, what is not read."""
    from fcntl import ioctl
    from termios import TIOCOUTQ

    (count,) = struct.unpack("i", ioctl(connection.fileno(), TIOCOUTQ, bytes(4)))
    return max(0, count - 1) if connection.family in _TABLES else count  # the end counts as one


def _waiting_there(connection: socket.socket) -> int:
    """What a reader on this machine has been given by the system and has not read."""
    table = _TABLES.get(connection.family)
    try:
        if table is None:
            return 0
        here, there = _as_listed(connection.getsockname()), _as_listed(connection.getpeername())
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return 0
    queues = (row[4] for row in rows if (row[1], row[2]) == (there, here))
    # the end of the stream counts as one byte
    return sum(max(0, int(queue.partition(":")[2], 16) - 1) for queue in queues)


def _as_listed(address: tuple[str, int]) -> str:
    """An address as the system's table has it: each 32-bit word in the machine's byte order."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    packed = socket.inet_pton(family, address[0].partition("%")[0])
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{address[1]:04X}"


STOP_GRACE_SECONDS = (
    0.5  # seconds without progress after which a run that is to stop waits no longer
)
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


def wait_until_ready(
    descriptor: int, stop: Event, *, reading: bool = False, timeout: float | None = None
) -> None:
    """Wait until a descriptor takes data (or has some), in slices, so that `stop` is seen.

    Raises Stopped when `stop` is set and nothing moved for STOP_GRACE_SECONDS seconds, TimeoutError
    after `timeout` seconds. Pipes on Windows cannot be waited for; there this returns at once.
    """
    begun, asked = time.monotonic(), None
    while not _ready(descriptor, reading):
        now = time.monotonic()
        if stop.is_set():
            asked = now if asked is None else asked
            if now - asked > STOP_GRACE_SECONDS:
                raise OutputCancelled("the reader takes nothing; the rest is dropped")
        if timeout is not None and now - begun > timeout:
            raise TimeoutError(f"the reader took nothing for {timeout:g} s")


def _ready(descriptor: int, reading: bool) -> bool:
    if sys.platform == "win32":
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLIN if reading else select.POLLOUT)
    return bool(poll.poll(int(_SLICE * 1000)))
