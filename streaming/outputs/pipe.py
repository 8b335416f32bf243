"""Pipes, such as standard output: the reader sets the pace."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from sana_stream._text import os_reason
from sana_stream.errors import InvalidOutputError, OutputCancelled, OutputError, ReaderDisconnected

from .transports import PIPE_CHUNK, wait_until_ready

if TYPE_CHECKING:
    from sana_stream.engine.block import Block, BlockPart
    from sana_stream.streaming.containers.registry import Muxer


def claim_stdout() -> int:
    """Reserve standard output for video and redirect other writes to it to standard error.

    To be called once, before other modules are imported, so that nothing that a library prints gets
    into the video.

    Returns:
        The descriptor to write video to.

    Raises:
        InvalidOutputError: standard output is a terminal, or closed.
    """
    if not _is_writable(1):
        raise InvalidOutputError(
            "standard output is closed, so nothing could read the video; pipe it into a player"
            " (… | ffplay -) or give the name of a file"
        )
    if os.isatty(1):
        raise InvalidOutputError(
            "standard output is a terminal, which cannot show video; pipe it into a player"
            " (… | ffplay -) or give the name of a file"
        )
    video = os.dup(1)
    os.dup2(2, 1)
    return video


def _is_writable(descriptor: int) -> bool:
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError:
        return False
    return mode != os.O_RDONLY


_RETRY_SECONDS = 0.1  # between two attempts to open a named pipe


class PipeOutput:
    """Writes a stream to a descriptor, which it owns and closes.

    A reader that accepts no data is waited for until `stop` is set; a reader that closes the pipe
    ends the output normally.
    """

    durable = False
    takes_parts = True

    def __init__(self, descriptor: int, name: str, muxer: Muxer, stop: Event) -> None:
        self.name = name
        self.frames = 0
        self._descriptor = descriptor
        self._muxer = muxer
        self._stop = stop
        self._open = True
        self._begun = False

    def write(self, block: Block | BlockPart) -> None:
        """Write one block, or a part."""
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
                wait_until_ready(self._descriptor, self._stop)
                view = view[os.write(self._descriptor, view[:PIPE_CHUNK]) :]
        except OSError as error:
            self._end()
            if isinstance(error, BrokenPipeError | ConnectionResetError):
                raise ReaderDisconnected(f"{self.name}: the reader has closed it") from error
            if isinstance(error, OutputCancelled):
                raise OutputCancelled(f"{self.name}: {error}") from error
            raise OutputError(f"{self.name}: {os_reason(error)}") from error

    def _end(self) -> None:
        if self._open:
            self._open = False
            os.close(self._descriptor)


class NamedPipeOutput(PipeOutput):
    """Writes a stream to a named pipe (`mkfifo`), which is opened once it has a reader.

    The first block waits for a reader until `stop` is set.
    """

    def __init__(self, path: Path, muxer: Muxer, stop: Event) -> None:
        super().__init__(-1, str(path), muxer, stop)
        self._path = path

    def write(self, block: Block | BlockPart) -> None:
        """Write one block, or a part."""
        if self._descriptor < 0:
            self._descriptor = self._open_pipe()
        super().write(block)

    def close(self) -> None:
        """Write the end of the stream and close the pipe, if it was opened."""
        if self._descriptor >= 0:
            super().close()

    def _open_pipe(self) -> int:
        while True:
            try:
                descriptor = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
                os.set_blocking(descriptor, True)
                return descriptor
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise OutputError(
                        f"{self.name}: cannot be written: {os_reason(error)}"
                    ) from error
            if self._stop.wait(_RETRY_SECONDS):
                raise OutputCancelled(f"{self.name}: it has no reader; the stream is dropped")
