"""TCP, Unix and UDP sockets, connecting or listening.

They are Python's sockets, which release the interpreter: a stalled connection delays only its own
thread.
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
_LINGER = 2.0  # seconds for a reader that has everything to close its side
_LOOK_SECONDS = 0.2  # between two checks of what is unread
_ANSWER_SECONDS = 0.2  # for a machine to answer that no program listens
DATAGRAM = 7 * 188  # bytes: seven packets of MPEG-TS, which fit into an Ethernet frame


class SocketTransport:
    """A connected stream socket; a reader that accepts no data for `timeout` seconds is lost."""

    def __init__(self, connection: socket.socket, stop: Event, timeout: float) -> None:
        self._socket = connection
        self._socket.setblocking(False)
        self._stop = stop
        self._timeout = timeout

    def send(self, data: bytes | memoryview, seconds: float) -> None:
        """Send everything, as fast as the reader takes it."""
        view = memoryview(data)
        while view:
            wait_until_ready(self._socket.fileno(), self._stop, timeout=self._timeout)
            with contextlib.suppress(BlockingIOError):
                view = view[self._socket.send(view) :]

    def finish(self) -> None:
        """Shut down the sending side and wait until the reader has everything.

        What fits into the system's buffers is sent at once, whether it is read or not. A reader
        that has read to the end closes its side; one that leaves earlier resets the connection. One
        that keeps it open, as players do, has everything when nothing is unread.
        """
        self._shut_down()
        begun = moved = time.monotonic()
        before, stopped = unread_bytes(self._socket), None
        while self._is_open():
            now, unread = time.monotonic(), unread_bytes(self._socket)
            if unread != before:
                before, moved = unread, now
            if self._stop.is_set():
                stopped = now if stopped is None else stopped
            if not unread and now - begun > _LINGER:
                return
            if stopped is not None and now - stopped > STOP_GRACE_SECONDS:
                raise OutputCancelled("the reader accepts no data; the rest is dropped")
            if now - moved > self._timeout:
                raise TimeoutError(f"the reader accepted no data for {self._timeout:g} s")

    def close(self) -> None:
        """Close the connection; the system delivers what is in its buffers."""
        self._socket.close()

    def _shut_down(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            raise ConnectionResetError(errno.ECONNRESET, "the reader has disconnected") from error

    def _is_open(self) -> bool:
        """Whether the reader has not closed its side, after a short wait; its data is discarded."""
        with contextlib.suppress(TimeoutError, BlockingIOError):
            wait_until_ready(self._socket.fileno(), Event(), reading=True, timeout=_LOOK_SECONDS)
            return bool(self._socket.recv(1 << 16))
        return True


class UdpTransport:
    """Sends datagrams to an address, spread over the time that they play; no reader is needed.

    The other machine, or this one, may answer that no program listens. If that was the answer to
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
        self._free = time.monotonic()  # when everything sent before has played
        self._pending = False  # whether a datagram was sent that may still be refused
        self._refused = 0
        self._accepted = 0

    def send(self, data: bytes | memoryview, seconds: float) -> None:
        """Send datagrams evenly over `seconds` seconds, after those sent before."""
        begin = max(time.monotonic(), self._free)
        self._free = begin + seconds
        for position in range(0, len(data), DATAGRAM):
            self._stop.wait(begin + seconds * position / len(data) - time.monotonic())
            self._count_answer()
            with contextlib.suppress(ConnectionRefusedError):  # no program listens yet
                self._socket.send(data[position : position + DATAGRAM])
            self._pending = True

    def finish(self) -> None:
        """Check whether anything has arrived, as far as that can be known."""
        self._stop.wait(_ANSWER_SECONDS)
        self._count_answer()
        if self._refused and not self._accepted:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "no program listens there")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _count_answer(self) -> None:
        """Count the previous datagram: the answer to it is the socket's pending error."""
        if self._pending:
            if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._refused += 1
            else:
                self._accepted += 1
        self._pending = False


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
    """Listens on an address and accepts one reader at a time."""

    def __init__(
        self,
        server: socket.socket,
        stop: Event,
        timeout: float,
        file: tuple[str, os.stat_result] | None = None,
    ) -> None:
        self._server = server
        self._file = file  # of a Unix socket: its path and what was created there
        self._server.setblocking(False)
        self._stop = stop
        self._timeout = timeout
        self._had_reader = False

    @classmethod
    def tcp(cls, host: str, port: int, stop: Event, timeout: float) -> Listener:
        """Listen on a TCP port; an empty host means every address of this machine."""
        return cls(socket.create_server((host, port)), stop, timeout)

    @classmethod
    def unix(cls, path: str, stop: Event, timeout: float) -> Listener:
        """Listen on a socket in the file system, which `close` removes."""
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            server.bind(path)
            file = path, os.lstat(path)
            server.listen()
        except OSError:
            server.close()
            raise
        return cls(server, stop, timeout, file)

    @property
    def address(self) -> tuple[str, int] | str:
        """The address that it listens on."""
        return self._server.getsockname()

    def accept(self) -> SocketTransport:
        """Wait for the first reader; a later one is accepted only if it is waiting already.

        Raises:
            OutputCancelled: the run is to stop.
            BlockingIOError: no new reader is waiting.
        """
        if not self._had_reader:
            wait_until_ready(self._server.fileno(), self._stop, reading=True)
        connection, _ = self._server.accept()
        self._had_reader = True
        return SocketTransport(connection, self._stop, self._timeout)

    def close(self) -> None:
        """Stop listening; a file that has replaced the socket of this listener stays."""
        self._server.close()
        if self._file is not None:
            path, created = self._file
            with contextlib.suppress(OSError):
                if os.path.samestat(os.lstat(path), created):
                    os.unlink(path)
