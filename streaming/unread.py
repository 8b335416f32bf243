"""How much of what was sent on a socket its reader has not taken, where the system tells."""

from __future__ import annotations

import socket
import struct
import sys
from pathlib import Path

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
