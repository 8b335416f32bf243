"""Standard error as a log: a write never fails and never blocks; lines may be lost."""

from __future__ import annotations

import io
import os
import select
import stat
import sys
import time
from collections.abc import Callable
from threading import RLock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

WAITING_BYTES = 256 << 10  # kept for a slow reader; lines beyond that are dropped
_CHUNK = getattr(select, "PIPE_BUF", 4096)  # bytes that a ready pipe takes without blocking
_PATIENCE = 2.0  # seconds to write the rest at the end of the program


class LogFile(io.RawIOBase):
    """A writable file over a descriptor; a write never fails and never blocks.

    What a full pipe or a stopped terminal does not take is kept in memory and written later. What
    exceeds that buffer, or fails to be written (closed pipe, full disk, closed terminal), is
    dropped. The number of dropped lines is printed as soon as writing is possible again. The
    descriptor stays open.

    Attributes:
        report_lost: makes the line about dropped lines from its words.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._waiting = bytearray()
        self._lost = 0  # lines
        self.report_lost: Callable[[str], str] = "sana-stream: {}\n".format
        self._lock = RLock()
        self._sending = False  # a finalizer may write in the middle of a write
        self._may_block = _may_block(descriptor)

    def write(self, data: ReadableBuffer, /) -> int:
        """Accept all bytes; lines that cannot be written are counted."""
        taken = bytes(data)
        with self._lock:
            self._send()
            if len(self._waiting) + len(taken) > WAITING_BYTES:
                self._lost += _lines(taken)
            else:
                self._waiting += self._lost_lines() + taken
            self._send()
        return len(taken)

    def drain(self, seconds: float = _PATIENCE) -> None:
        """Write the buffer, waiting at most `seconds` seconds for the reader."""
        until = time.monotonic() + seconds
        with self._lock:
            while self._waiting and time.monotonic() < until:
                self._send(wait=0.05)
            if not self._waiting:
                self._waiting += self._lost_lines()
                self._send()

    def writable(self) -> bool:
        """True."""
        return True

    def isatty(self) -> bool:
        """Whether the descriptor is a terminal."""
        try:
            return os.isatty(self._descriptor)
        except OSError:
            return False

    def fileno(self) -> int:
        """The file descriptor."""
        return self._descriptor

    def _send(self, wait: float = 0.0) -> None:
        if self._sending:
            return
        self._sending = True
        try:
            while self._waiting and self._is_ready(wait):
                chunk = self._waiting[:_CHUNK] if self._may_block else self._waiting[:]
                del self._waiting[: os.write(self._descriptor, chunk)]
        except BlockingIOError:
            return
        except OSError:
            self._lost += _lines(self._waiting)
            self._waiting.clear()
        finally:
            self._sending = False

    def _is_ready(self, wait: float) -> bool:
        if not self._may_block:
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(wait * 1000))

    def _lost_lines(self) -> bytes:
        lost, self._lost = self._lost, 0
        if not lost:
            return b""
        what = "1 line" if lost == 1 else f"{lost} lines"
        return self.report_lost(f"{what} could not be written here").encode()


def open_log(descriptor: int) -> io.TextIOWrapper:
    """A text stream over a `LogFile`, in the encoding of the descriptor's own stream."""
    own = sys.__stderr__ if descriptor == 2 else sys.__stdout__
    encoding = "utf-8" if own is None else own.encoding
    file: io.RawIOBase = LogFile(descriptor)
    # a wrapper without a buffer of its own accepts a raw file
    return io.TextIOWrapper(
        file,  # pyright: ignore[reportArgumentType]
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=False,
        write_through=True,
    )


def unblock(descriptor: int) -> None:
    """Make a pipe or terminal non-blocking for this process.

    C libraries write to standard error too, and a full pipe would block them forever. The mode
    belongs to the open file, which other programs share, so the pipe is opened again. On systems
    other than Linux nothing changes.
    """
    if sys.platform != "linux":
        return
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        if not (stat.S_ISFIFO(os.fstat(descriptor).st_mode) or os.isatty(descriptor)):
            return
        opened = os.open(f"/proc/self/fd/{descriptor}", flags)
    except OSError:
        return
    os.dup2(opened, descriptor)
    os.close(opened)


def write_at_once(descriptor: int, data: bytes) -> None:
    """Write from a signal handler: without locks, without blocking, without errors."""
    try:
        if _may_block(descriptor):
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            if not poll.poll(0):
                return
        os.write(descriptor, data)
    except OSError:
        return  # an unwritable log does not end the program


def _may_block(descriptor: int) -> bool:
    """Whether a write may block: not to a regular file; unknown, and taken as not, on Windows."""
    if not hasattr(select, "poll"):
        return False
    try:
        return not stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def _lines(data: bytes | bytearray) -> int:
    return max(1, data.count(b"\n"))
