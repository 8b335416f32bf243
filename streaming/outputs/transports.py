"""The interface of a connection to a reader, and waiting for a reader without blocking."""

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
    """Bytes that are sent and not read: on this side, and on a reader's side on this machine.

    Only Linux reports them; elsewhere this is always 0.
    """
    if not sys.platform.startswith("linux"):
        return 0
    return _unacknowledged(connection) + _unread_by_peer(connection)


def _unacknowledged(connection: socket.socket) -> int:
    """Bytes that are not acknowledged; on a Unix socket, bytes that are not read."""
    from fcntl import ioctl
    from termios import TIOCOUTQ

    (count,) = struct.unpack("i", ioctl(connection.fileno(), TIOCOUTQ, bytes(4)))
    return max(0, count - 1) if connection.family in _TABLES else count  # the end counts as one


def _unread_by_peer(connection: socket.socket) -> int:
    """Bytes that a reader on this machine has received and not read."""
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
    """An address as the system's table writes it: each 32-bit word in the machine's byte order."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    packed = socket.inet_pton(family, address[0].partition("%")[0])
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{address[1]:04X}"


STOP_GRACE_SECONDS = 0.5  # without progress, after which a run that is to stop no longer waits
PIPE_CHUNK = getattr(select, "PIPE_BUF", 1 << 16)  # bytes that a ready pipe takes without blocking
_SLICE = 0.1  # seconds between two checks of the stop event


class Transport(Protocol):
    """One connection to a reader."""

    def send(self, data: bytes | memoryview, seconds: float) -> None:
        """Deliver all of the data, which plays for `seconds` seconds.

        Raises:
            OutputCancelled: the run is to stop and the reader accepts no data.
            OSError: the reader has disconnected, or accepts no data for too long.
        """
        ...

    def finish(self) -> None:
        """After the last data: wait until the reader has it, as far as that can be known.

        Raises:
            OutputCancelled: as `send`.
            OSError: the reader has not read all of it.
        """
        ...

    def close(self) -> None:
        """Close the connection; data already sent may still be delivered."""
        ...


def wait_until_ready(
    descriptor: int, stop: Event, *, reading: bool = False, timeout: float | None = None
) -> None:
    """Wait until a descriptor accepts data, or with `reading` has some.

    `stop` is checked meanwhile. Pipes on Windows cannot be waited for; there this returns at once.

    Raises:
        OutputCancelled: `stop` is set and nothing changed for STOP_GRACE_SECONDS seconds.
        TimeoutError: after `timeout` seconds.
    """
    begun, stopped = time.monotonic(), None
    while not _ready(descriptor, reading):
        now = time.monotonic()
        if stop.is_set():
            stopped = now if stopped is None else stopped
            if now - stopped > STOP_GRACE_SECONDS:
                raise OutputCancelled("the reader accepts no data; the rest is dropped")
        if timeout is not None and now - begun > timeout:
            raise TimeoutError(f"the reader accepted no data for {timeout:g} s")


def _ready(descriptor: int, reading: bool) -> bool:
    if sys.platform == "win32":
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLIN if reading else select.POLLOUT)
    return bool(poll.poll(int(_SLICE * 1000)))
