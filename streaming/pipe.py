"""A pipe, such as standard output: the reader sets the pace."""

from __future__ import annotations

import os
import select
import time
from threading import Event
from typing import TYPE_CHECKING

from .errors import ReaderGone, SinkError, Stopped
from .muxer import Muxer

if TYPE_CHECKING:
    from ..engine.block import Block

_PATIENCE = 0.5  # seconds without progress after which a run that is to stop waits no longer
_CHUNK = getattr(select, "PIPE_BUF", 1 << 16)  # a ready pipe takes so much without blocking


class PipeSink:
    """Writes a stream to a descriptor, which it owns and closes.

    A reader that takes nothing is waited for until `stop` is set; one that has gone ends the
    output normally.
    """

    durable = False

    def __init__(self, descriptor: int, label: str, muxer: Muxer, stop: Event) -> None:
        self.label = label
        self.frames = 0
        self._descriptor = descriptor
        self._muxer = muxer
        self._stop = stop
        self._open = True
        self._begun = False

    def write(self, block: Block) -> None:
        """Write one block."""
        header = b"" if self._begun else self._muxer.header()
        self._begun = True
        self._send(header + self._muxer.add(block))
        self.frames += len(block.frames)

    def close(self) -> None:
        """Write the end of the stream and close the descriptor."""
        if not self._open:
            return
        try:
            if self._begun:
                self._send(self._muxer.trailer())
        finally:
            self._end()

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view and self._open:
                self._await_room()
                view = view[os.write(self._descriptor, view[:_CHUNK]) :]
        except (BrokenPipeError, ConnectionResetError) as error:
            self._end()
            raise ReaderGone(f"{self.label}: the reader has closed it") from error
        except SinkError:
            self._end()
            raise
        except OSError as error:
            self._end()
            raise SinkError(f"{self.label}: {error.strerror}") from error

    def _await_room(self) -> None:
        """Wait until the pipe takes something; a thread blocked in a write could not be stopped."""
        if not hasattr(select, "poll"):
            return
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        asked: float | None = None
        while not poll.poll(100):
            if self._stop.is_set():
                asked = asked or time.monotonic()
                if time.monotonic() - asked > _PATIENCE:
                    raise Stopped(f"{self.label}: the reader takes nothing; the rest is dropped")

    def _end(self) -> None:
        if self._open:
            self._open = False
            os.close(self._descriptor)
