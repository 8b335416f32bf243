"""TCP, Unix and UDP sockets, connecting or listening.

The sockets are the interpreter's own: a connection that hangs holds up its thread and no other.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from threading import Event

from .transport import await_ready

CONNECT_SECONDS = 10.0
DATAGRAM = 7 * 188  # bytes: seven packets of MPEG-TS, which fit into one Ethernet frame


class SocketTransport:
    """A connected stream socket; a reader that takes nothing for `timeout` seconds is lost."""

    def __init__(self, connection: socket.socket, stop: Event, timeout: float) -> None:
        self._socket = connection
        self._socket.setblocking(False)
        self._stop = stop
        self._timeout = timeout

    def send(self, data: bytes | memoryview, seconds: float) -> None:
        """Send everything at the reader's pace."""
        view = memoryview(data)
        while view:
            await_ready(self._socket.fileno(), self._stop, timeout=self._timeout)
            with contextlib.suppress(BlockingIOError):
                view = view[self._socket.send(view) :]

    def close(self) -> None:
        """Close the connection; the system delivers what it still holds."""
        self._socket.close()


class DatagramTransport:
    """Datagrams to an address, spread over the time that they play; nobody needs to listen."""

    def __init__(self, host: str, port: int, stop: Event) -> None:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[
            0
        ]
        self._socket = socket.socket(family, kind, protocol)
        self._socket.connect(address)
        self._stop = stop
        self._free = time.monotonic()  # when what was sent before has played

    def send(self, data: bytes | memoryview, seconds: float) -> None:
        """Send datagrams evenly over so many seconds, after those sent before."""
        begin = max(time.monotonic(), self._free)
        self._free = begin + seconds
        for position in range(0, len(data), DATAGRAM):
            self._stop.wait(begin + seconds * position / len(data) - time.monotonic())
            with contextlib.suppress(ConnectionRefusedError):  # nobody listens, as yet
                self._socket.send(data[position : position + DATAGRAM])

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def connect_tcp(host: str, port: int, stop: Event, timeout: float) -> SocketTransport:
    """Connect to a listening reader."""
    connection = socket.create_connection((host, port), CONNECT_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return SocketTransport(connection, stop, timeout)


def connect_unix(path: str, stop: Event, timeout: float) -> SocketTransport:
    """Connect to a reader that listens on a socket in the file system."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(CONNECT_SECONDS)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return SocketTransport(connection, stop, timeout)


class Listener:
    """Waits for one reader at a time on an address of its own."""

    def __init__(self, server: socket.socket, stop: Event, timeout: float) -> None:
        self._server = server
        self._server.setblocking(False)
        self._stop = stop
        self._timeout = timeout
        self._had_reader = False

    @classmethod
    def tcp(cls, host: str, port: int, stop: Event, timeout: float) -> Listener:
        """Listen on a TCP port; no host means every address of this machine."""
        return cls(socket.create_server((host, port)), stop, timeout)

    @classmethod
    def unix(cls, path: str, stop: Event, timeout: float) -> Listener:
        """Listen on a socket in the file system, which is removed in the end."""
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            server.bind(path)
            server.listen()
        except OSError:
            server.close()
            raise
        return cls(server, stop, timeout)

    @property
    def address(self) -> tuple[str, int] | str:
        """Where it listens."""
        return self._server.getsockname()

    def accept(self) -> SocketTransport:
        """Wait for the first reader; later ones are only looked for.

        Raises Stopped when the run is to stop, BlockingIOError when no new reader has come.
        """
        if not self._had_reader:
            await_ready(self._server.fileno(), self._stop, reading=True)
        connection, _ = self._server.accept()
        self._had_reader = True
        return SocketTransport(connection, self._stop, self._timeout)

    def close(self) -> None:
        """Stop listening."""
        address = self._server.getsockname()
        self._server.close()
        if isinstance(address, str):
            with contextlib.suppress(OSError):
                os.unlink(address)
