"""TCP, Unix and UDP sockets, connecting or listening.

The sockets are the interpreter's own: a connection that hangs holds up its thread and no other.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from threading import Event

from sana_stream.errors import OutputCancelled

from .transports import STOP_GRACE_SECONDS, unread_bytes, wait_until_ready

CONNECT_SECONDS = 10.0
_LINGER = 2.0  # seconds in which a reader that has everything closes its side, or breaks it
_LOOK_SECONDS = 0.2  # between two looks at what is unread
_ANSWER_SECONDS = 0.2  # in which a machine says that nobody listens
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
            wait_until_ready(self._socket.fileno(), self._stop, timeout=self._timeout)
            with contextlib.suppress(BlockingIOError):
                view = view[self._socket.send(view) :]

    def finish(self) -> None:
        """Say that this was all, and wait until the reader has taken it.

        What fits into the system's buffers is sent in no time, whether anybody reads it or not. A
        reader that has read to the end closes its side; one that goes away before breaks the
        connection. One that stays open, as players do, has taken all when nothing is unread.
        """
        self._shut_down()
        begun = moved = time.monotonic()
        before, asked = unread_bytes(self._socket), None
        while self._is_open():
            now, unread = time.monotonic(), unread_bytes(self._socket)
            if unread != before:
                before, moved = unread, now
            if self._stop.is_set():
                asked = now if asked is None else asked
            if not unread and now - begun > _LINGER:
                return
            if asked is not None and now - asked > STOP_GRACE_SECONDS:
                raise OutputCancelled("the reader takes nothing; the rest is dropped")
            if now - moved > self._timeout:
                raise TimeoutError(f"the reader took nothing for {self._timeout:g} s")

    def close(self) -> None:
        """Close the connection; the system delivers what it still holds."""
        self._socket.close()

    def _shut_down(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            raise ConnectionResetError(errno.ECONNRESET, "the reader has gone") from error

    def _is_open(self) -> bool:
        """Whether the reader has not closed its side, after a short wait; what it says is lost."""
        with contextlib.suppress(TimeoutError, BlockingIOError):
            wait_until_ready(self._socket.fileno(), Event(), reading=True, timeout=_LOOK_SECONDS)
            return bool(self._socket.recv(1 << 16))
        return True


class UdpTransport:
    """Datagrams to an address, spread over the time that they play; nobody needs to listen yet.

    The other machine, or this one, may answer that nobody listens. When that was the answer to
    every datagram, nothing has arrived.
    """

    def __init__(self, host: str, port: int, stop: Event) -> None:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[
            0
        ]
        self._socket = socket.socket(family, kind, protocol)
        try:
            self._socket.connect(address)
        except OSError:
            self._socket.close()
            raise
        self._stop = stop
        self._free = time.monotonic()  # when what was sent before has played
        self._underway = False  # a datagram whose fate is not known yet
        self._refused = 0
        self._taken = 0

    def send(self, data: bytes | memoryview, seconds: float) -> None:
        """Send datagrams evenly over so many seconds, after those sent before."""
        begin = max(time.monotonic(), self._free)
        self._free = begin + seconds
        for position in range(0, len(data), DATAGRAM):
            self._stop.wait(begin + seconds * position / len(data) - time.monotonic())
            self._settle()
            with contextlib.suppress(ConnectionRefusedError):  # nobody listens, as yet
                self._socket.send(data[position : position + DATAGRAM])
            self._underway = True

    def finish(self) -> None:
        """Look whether anything has arrived, as far as that can be known."""
        self._stop.wait(_ANSWER_SECONDS)
        self._settle()
        if self._refused and not self._taken:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens there")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _settle(self) -> None:
        """Count the datagram before: an answer to it is the socket's pending error."""
        if self._underway:
            if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._refused += 1
            else:
                self._taken += 1
        self._underway = False


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
            wait_until_ready(self._server.fileno(), self._stop, reading=True)
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
