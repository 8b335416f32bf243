"""Outputs that somebody watches now: a connection that may be lost and found again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sana_stream.errors import OutputCancelled, OutputError, ReaderDisconnected
from sana_stream.streaming.containers.registry import Muxer
from sana_stream.streaming.video_format import VideoFormat

from .transports import Transport

if TYPE_CHECKING:
    from sana_stream.engine.block import Block

_MISSING = "the stream has not arrived, or not to its end"
_LONGEST_WAIT = 30.0  # seconds between two attempts to connect again


class NetworkOutput:
    """Sends a stream over a connection.

    `connect` gives a connection, or raises OSError. As the only output, a lost connection is its
    end: a fault of a reader that we called, the normal end of one that came to us (`listening`).
    Beside others it is opened again with growing pauses, at a block's start, and whole blocks are
    dropped in between; `report` hears of both.
    """

    durable = False

    def __init__(
        self,
        name: str,
        connect: Callable[[], Transport],
        create_muxer: Callable[[], Muxer],
        video: VideoFormat,
        report: Callable[[str], None],
        *,
        sole_output: bool = True,
        listening: bool = False,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.frames = 0
        self._connect = connect
        self._make_muxer = create_muxer
        self._video = video
        self._report = report
        self._alone = sole_output
        self._listening = listening
        self._close = close
        self._begun = False
        self._closed = False
        self._fault = "nobody has come"  # what went wrong last
        self._dropped = 0
        self._pause = 0.0
        self._next_try = 0.0
        self._transport: Transport | None = None
        self._muxer: Muxer | None = None
        if not listening:
            self._open()

    def write(self, block: Block) -> None:
        """Send one block, or drop it while there is no connection."""
        self._begun = True
        if self._transport is None and not self._try_to_open():
            self._dropped += len(block.frames)
            return
        assert self._transport
        muxer = self._muxer or self._make_muxer()
        try:
            if self._muxer is None:
                self._muxer = muxer
                self._transport.send(muxer.header(), 0.0)
            self._transport.send(muxer.add(block), self._video.seconds(len(block.frames)))
        except OutputCancelled as error:
            self._drop_connection()
            raise OutputCancelled(f"{self.name}: {error}") from error
        except OSError as error:
            self._lost(error)
            self._dropped += len(block.frames)
            return
        self.frames += len(block.frames)
        self._pause = 0.0

    def close(self) -> None:
        """Send the end of the stream, see that it arrives, and close the connection.

        Raises ReaderDisconnected for a reader that came to us and has left, OutputError when the
        stream has not arrived, Stopped when the run was to stop meanwhile.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._begun:
                self._deliver_end()
        finally:
            self._drop_connection()
            self._close()

    def _deliver_end(self) -> None:
        if self._transport is None or self._muxer is None:
            if self._dropped and not (self._listening and self.frames):
                raise OutputError(f"{self.name}: {_MISSING}: {self._fault}")
            return
        try:
            self._transport.send(self._muxer.trailer(), 0.0)
            self._transport.finish()
        except OutputCancelled as error:
            raise OutputCancelled(f"{self.name}: {error}") from error
        except OSError as error:
            if self._listening and isinstance(error, ConnectionError):
                raise ReaderDisconnected(
                    f"{self.name}: the reader has gone before the end"
                ) from error
            raise OutputError(f"{self.name}: {_MISSING}: {_reason(error)}") from error

    def _open(self) -> None:
        self._transport = self._connect()

    def _try_to_open(self) -> bool:
        if time.monotonic() < self._next_try:
            return False
        try:
            self._open()
        except OutputCancelled as error:
            raise OutputCancelled(f"{self.name}: nobody has come to watch") from error
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                self._fault = _reason(error)
            self._plan_next_try()
            return False
        if self._dropped:
            self._report(
                f"{self.name}: connected again; {self._dropped} frames were dropped meanwhile"
            )
            self._dropped = 0
        return True

    def _lost(self, error: OSError) -> None:
        self._drop_connection()
        self._fault = _reason(error)
        if self._alone and self._listening and isinstance(error, ConnectionError):
            raise ReaderDisconnected(f"{self.name}: the reader has gone") from error
        if self._alone:
            raise OutputError(f"{self.name}: {_reason(error)}") from error
        self._report(f"{self.name}: {_reason(error)}; the others go on, trying again")
        self._plan_next_try()

    def _plan_next_try(self) -> None:
        if not self._listening:
            self._pause = min(_LONGEST_WAIT, max(1.0, 2 * self._pause))
        self._next_try = time.monotonic() + self._pause

    def _drop_connection(self) -> None:
        if self._transport is not None:
            self._transport.close()
        self._transport = self._muxer = None


def _reason(error: OSError) -> str:
    said = (error.strerror or "").lower() if error.errno else str(error)
    return said or "the connection was lost"
