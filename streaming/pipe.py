"""A pipe, such as standard output: the reader sets the pace."""

from __future__ import annotations

import os
from threading import Event
from typing import TYPE_CHECKING

from .errors import ReaderGone, SinkError, Stopped
from .muxer import Muxer
from .transport import PIPE_CHUNK, await_ready

if TYPE_CHECKING:
    from ..engine.block import Block


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
        if not self._begun:
            self._begun = True
            self._send(self._muxer.header())
        self._send(self._muxer.add(block))
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

    def _send(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        try:
            while view and self._open:
                await_ready(self._descriptor, self._stop)
                view = view[os.write(self._descriptor, view[:PIPE_CHUNK]) :]
        except OSError as error:
            self._end()
            if isinstance(error, BrokenPipeError | ConnectionResetError):
                raise ReaderGone(f"{self.label}: the reader has closed it") from error
            if isinstance(error, Stopped):
                raise Stopped(f"{self.label}: {error}") from error
            raise SinkError(f"{self.label}: {error.strerror}") from error

    def _end(self) -> None:
        if self._open:
            self._open = False
            os.close(self._descriptor)
