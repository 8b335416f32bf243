"""Control messages between the first process and the others, and noticing that one has ended.

The first process has one connection to each other one. Messages are ordered; a process that ends
closes its connections, which the readers notice at once, whatever the main threads are doing.
Messages are pickled: both ends prove that they know the run's key before the first one.
"""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import Any

import torch

from sana_stream.errors import ParallelError

ACCEPT_SECONDS = 300.0  # until every process has started
REPORT_SECONDS = 3.0  # in which a lost process is noticed after a failed exchange
_KEEPALIVE = (  # a machine that is lost is noticed within 20 seconds; where the system has them
    ("TCP_KEEPIDLE", 5),
    ("TCP_KEEPINTVL", 5),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", 20_000),
)
END = "end"  # the last message of a stream that has ended in good order


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection to a process has ended, or the process reported why it cannot continue."""

    rank: int
    reason: str = ""


class Link:
    """Connections to other processes.

    Args:
        connections: by the rank of the other process.
        on_lost: called by a reader's thread when a connection ends before `close`.
    """

    def __init__(
        self, connections: Mapping[int, Connection], on_lost: Callable[[Lost], None] | None = None
    ) -> None:
        self._connections = dict(connections)
        self._received: dict[int, SimpleQueue[Any]] = {r: SimpleQueue() for r in connections}
        self._on_lost = on_lost
        self._sending = Lock()
        self._closed = False
        self.lost: Lost | None = None  # the first one
        self.has_lost = Event()
        self.bytes_sent = 0
        for rank, connection in self._connections.items():
            _set_options(connection)
            name = f"sana-stream-link-{rank}"
            Thread(target=self._read, args=(rank,), name=name, daemon=True).start()

    def send(self, message: object, ranks: Iterable[int] | None = None) -> None:
        """Send a message to some processes; default: to all.

        Raises:
            ParallelError: a process has ended.
        """
        data = pickle.dumps(message)
        with self._sending:
            for rank in self._connections if ranks is None else ranks:
                try:
                    self._connections[rank].send_bytes(data)
                except OSError as error:
                    self._lose(Lost(rank))
                    raise self.error() from error
                self.bytes_sent += len(data)

    def receive(self, rank: int, timeout: float | None = None) -> Any:
        """The next message of a process; waits for it without limit unless one is given.

        Raises:
            ParallelError: it has ended, or has failed.
            Empty: nothing came within `timeout` seconds.
        """
        message = self._received[rank].get(timeout=timeout)
        if isinstance(message, Lost):
            self._received[rank].put(message)  # for the next caller
            raise self.error()
        return message

    def error(self) -> ParallelError:
        """The error about the first process that was lost."""
        lost = self.lost
        if lost is None:
            return ParallelError("the connection between the devices' processes has failed")
        if lost.rank == 0:
            return ParallelError("the first process has ended")
        reason = f": {lost.reason}" if lost.reason else " (killed, or lost with its machine)"
        return ParallelError(
            f"process {lost.rank} of this stream's devices has ended{reason}; the stream ends here,"
            " and can be resumed"
        )

    def explain(self, error: BaseException) -> BaseException:
        """The error to raise in place of one that a lost process may have caused.

        An exchange of tensors that fails raises RuntimeError, often before the loss is noticed.
        """
        exchanging = isinstance(error, RuntimeError) and not isinstance(
            error, torch.OutOfMemoryError
        )
        if exchanging:
            self.has_lost.wait(REPORT_SECONDS)
        if self.lost is not None and isinstance(error, Exception):
            return self.error()
        if exchanging:
            return ParallelError(f"the devices' processes cannot exchange data: {error}")
        return error

    def close(self) -> None:
        """End all connections; does nothing the second time."""
        self._closed = True
        for connection in self._connections.values():
            with suppress(OSError):
                _shut_down(connection)

    def _read(self, rank: int) -> None:
        connection, received = self._connections[rank], self._received[rank]
        while True:
            try:
                message = pickle.loads(connection.recv_bytes())
            except (EOFError, OSError, pickle.UnpicklingError):
                message = Lost(rank)
            if isinstance(message, Lost):
                self._lose(message)
                received.put(message)
                return
            received.put(message)
            if isinstance(message, str) and message == END:
                return

    def _lose(self, lost: Lost) -> None:
        if self._closed:
            return
        if self.lost is None:
            self.lost = lost
            self.has_lost.set()
        if self._on_lost is not None:
            self._on_lost(lost)


def _shut_down(connection: Connection) -> None:
    """End a connection at once; closing it would wait for the thread that reads from it."""
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)


def _set_options(connection: Connection) -> None:
    """Send small messages at once, and notice a machine that is lost."""
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                end.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def open_listener(host: str, key: bytes) -> Listener:
    """Listen for the other processes on a free port of an address of this machine."""
    return Listener((host, 0), family="AF_INET", backlog=64, authkey=key)


def accept_all(
    listener: Listener, count: int, on_lost: Callable[[Lost], None], check: Callable[[], None]
) -> Link:
    """The first process's link, once all `count` other processes have connected.

    Args:
        listener: is closed afterwards.
        count: of other processes.
        on_lost: as for `Link`.
        check: raises where a process has ended; called while waiting.

    Raises:
        ParallelError: a process has not connected in time.
    """
    arrived: SimpleQueue[tuple[int, Connection]] = SimpleQueue()
    Thread(target=_accept, args=(listener, count, arrived), daemon=True).start()
    connections: dict[int, Connection] = {}
    waited = 0.0
    try:
        while len(connections) < count:
            try:
                rank, connection = arrived.get(timeout=0.2)
                connections[rank] = connection
            except Empty:
                check()
                waited += 0.2
                if waited > ACCEPT_SECONDS:
                    raise ParallelError(
                        f"{count - len(connections)} processes have not started within"
                        f" {ACCEPT_SECONDS:.0f} s"
                    ) from None
    finally:
        listener.close()
    return Link(connections, on_lost)


def _accept(listener: Listener, count: int, arrived: SimpleQueue[tuple[int, Connection]]) -> None:
    while count:
        try:
            connection = listener.accept()
            arrived.put((int(connection.recv_bytes()), connection))
            count -= 1
        except (AuthenticationError, ConnectionError, EOFError, ValueError):
            continue  # a stranger
        except OSError:
            return  # the listener was closed


def connect(
    address: tuple[str, int], key: bytes, rank: int, on_lost: Callable[[Lost], None]
) -> Link:
    """The link of another process to the first one."""
    connection = Client(address, family="AF_INET", authkey=key)
    connection.send_bytes(str(rank).encode())
    return Link({0: connection}, on_lost)
