"""Which connections the web server holds: never so many that the run has no descriptor left."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

MOST = 512  # connections at once, where descriptors allow it
LEAST = 4
_RESERVED = 48  # descriptors for the run: files, checkpoints, pipes, the model
_RAISED = 1024  # a higher soft limit would break programs that wait with select()
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}  # seconds, seconds, tries


class Connection(Protocol):
    """What is known of a connection."""

    @property
    def held(self) -> bool:
        """Whether it watches or downloads, of which there is a limit of its own."""
        ...

    def abort(self) -> None:
        """Close it at once, whatever is still to be sent."""
        ...


class Connections:
    """The connections that are open, at most `limit`.

    For a new one beyond the limit the oldest goes on which no request is; then the oldest whose
    request is still coming in or being answered. Those that watch or download stay.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._idle: dict[Connection, None] = {}  # no request, the longest time first
        self._busy: dict[Connection, None] = {}

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._idle) + len(self._busy)

    def idle(self, connection: Connection) -> None:
        """There is no request on this one."""
        self._busy.pop(connection, None)
        self._idle.setdefault(connection)

    def busy(self, connection: Connection) -> None:
        """There is a request on this one."""
        self._idle.pop(connection, None)
        self._busy.setdefault(connection)

    def forget(self, connection: Connection) -> None:
        """This one is closed."""
        self._idle.pop(connection, None)
        self._busy.pop(connection, None)

    def make_room(self) -> bool:
        """Let go of one when there is no room for another; False when none may go."""
        return self.count < self.limit or self.evict()

    def evict(self) -> bool:
        """Let go of the one that is missed least; False when none may go."""
        found = next(iter(self._idle), None) or next(
            (connection for connection in self._busy if not connection.held), None
        )
        if found is None:
            return False
        self.forget(found)
        found.abort()
        return True


def connection_limit() -> int:
    """How many connections there may be, so that descriptors are left for the run.

    A soft limit below 1024 is raised as far as the hard one allows.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return MOST
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST
    wanted = _RAISED if hard == resource.RLIM_INFINITY else min(_RAISED, hard)
    if soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return max(LEAST, min(MOST, soft // 2, soft - _open_descriptors() - _RESERVED))


def refuse(connection: socket.socket) -> None:
    """Tell a new connection to come back, and close it."""
    text = b"the server has as many connections as it may; try again\n"
    with connection, suppress(OSError):
        connection.send(
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 1\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)
        )
        connection.shutdown(socket.SHUT_WR)


def notice_dead_peers(connection: socket.socket) -> None:
    """Let the system close a connection whose other end is gone without a word."""
    set_option: Callable[[int, int, int], None] = connection.setsockopt
    with suppress(OSError):
        set_option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                set_option(socket.IPPROTO_TCP, getattr(socket, name), value)


def _open_descriptors() -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return len(os.listdir(folder))
    return _RESERVED
