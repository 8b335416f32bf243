"""The connections of the web server, limited so that the run has enough descriptors."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

MOST = 512  # connections at once, where descriptors allow it
LEAST = 4
_RESERVED = 48  # descriptors for the run: files, checkpoints, pipes, the model
_RAISED = 1024  # a higher soft limit would break programs that use select()
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}  # seconds, seconds, tries


class Connection(Protocol):
    """One connection."""

    @property
    def held(self) -> bool:
        """Whether it watches or downloads; those have a limit of their own."""
        ...

    def abort(self) -> None:
        """Close it at once, without sending what is left."""
        ...


class Connections:
    """The open connections, at most `limit`.

    For a new one beyond the limit the oldest one without a request is closed, or else the oldest
    one with a request. Connections that watch or download stay open.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._idle: dict[Connection, None] = {}  # without a request, for the longest time first
        self._busy: dict[Connection, None] = {}

    @property
    def count(self) -> int:
        """The number of open connections."""
        return len(self._idle) + len(self._busy)

    def idle(self, connection: Connection) -> None:
        """Record that a connection has no request."""
        self._busy.pop(connection, None)
        self._idle.setdefault(connection)

    def busy(self, connection: Connection) -> None:
        """Record that a connection has a request."""
        self._idle.pop(connection, None)
        self._busy.setdefault(connection)

    def forget(self, connection: Connection) -> None:
        """Record that a connection is closed."""
        self._idle.pop(connection, None)
        self._busy.pop(connection, None)

    def make_room(self) -> bool:
        """Close a connection if there is no room for another; False if none may be closed."""
        return self.count < self.limit or self.evict()

    def evict(self) -> bool:
        """Close the connection that is needed least; False if none may be closed."""
        found = next(iter(self._idle), None) or next(
            (connection for connection in self._busy if not connection.held), None
        )
        if found is None:
            return False
        self.forget(found)
        found.abort()
        return True


def connection_limit() -> int:
    """The number of connections that leaves enough descriptors for the run.

    A soft limit below 1024 is raised as far as the hard limit allows.
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
    """Answer a new connection with 503 and close it."""
    text = b"the server has too many connections; try again\n"
    with connection, suppress(OSError):
        connection.send(
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 1\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)
        )
        connection.shutdown(socket.SHUT_WR)


def notice_dead_peers(connection: socket.socket) -> None:
    """Let the system close a connection whose peer has vanished, with TCP keepalive."""
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
