"""Live network outputs: a connection that may be lost and opened again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sana_stream._text import os_reason
from sana_stream.errors import OutputCancelled, OutputError, ReaderDisconnected
from sana_stream.streaming.containers.registry import Muxer
from sana_stream.streaming.video_format import VideoFormat

from .transports import Transport

if TYPE_CHECKING:
    from sana_stream.engine.block import Block, BlockPart

_MISSING = "the stream has not arrived, or not to its end"
_LONGEST_WAIT = 30.0  # seconds between two attempts to connect again

logger = logging.getLogger(__name__)


class NetworkOutput:
    """Sends a stream over a connection.

    If it is the only output, a lost connection ends it: with OutputError, or with
    ReaderDisconnected if a reader that came to a listening output has left. Next to other outputs
    the connection is opened again at the start of a block, after growing pauses. Complete blocks
    are dropped until then. Both are logged as warnings.

    Args:
        name: the name for messages.
        connect: returns a new connection; raises OSError, or BlockingIOError where none is there
            yet.
        create_muxer: returns the muxer of a new connection.
        video: the format of the stream.
        sole_output: the run has no other output.
        listening: the reader connects to this output.
        close: called when the output is closed.
    """

    durable = False
    takes_parts = True

    def __init__(
        self,
        name: str,
        connect: Callable[[], Transport],
        create_muxer: Callable[[], Muxer],
        video: VideoFormat,
        *,
        sole_output: bool = True,
        listening: bool = False,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.frames = 0
        self._connect = connect
        self._create_muxer = create_muxer
        self._video = video
        self._sole_output = sole_output
        self._listening = listening
        self._close = close
        self._begun = False
        self._closed = False
        self._last_fault = "no reader has connected"
        self._dropped = 0
        self._pause = 0.0
        self._next_try = 0.0
        self._transport: Transport | None = None
        self._muxer: Muxer | None = None
        if not listening:
            self._open()

    def write(self, block: Block | BlockPart) -> None:
        """Send one block or a part, or drop it while there is no connection."""
        self._begun = True
        if self._transport is None and not self._try_to_open():
            self._dropped += len(block.frames)
            return
        assert self._transport
        muxer = self._muxer or self._create_muxer()
        try:
            if self._muxer is None:
                self._muxer = muxer
                self._transport.send(muxer.header(), 0.0)
            self._transport.send(muxer.add(block), self._video.seconds(len(block.frames)))
        except OutputCancelled as error:
            self._drop_connection()
            raise OutputCancelled(f"{self.name}: {error}") from error
        except OSError as error:
            self._on_lost(error)
            self._dropped += len(block.frames)
            return
        self.frames += len(block.frames)
        self._pause = 0.0

    def close(self) -> None:
        """Send the end of the stream, check that it arrives, and close the connection.

        Raises:
            ReaderDisconnected: a reader that came to a listening output has left.
            OutputCancelled: the run was stopped meanwhile.
            OutputError: the stream has not arrived.
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
                raise OutputError(f"{self.name}: {_MISSING}: {self._last_fault}")
            return
        try:
            self._transport.send(self._muxer.trailer(), 0.0)
            self._transport.finish()
        except OutputCancelled as error:
            raise OutputCancelled(f"{self.name}: {error}") from error
        except OSError as error:
            if self._listening and isinstance(error, ConnectionError):
                raise ReaderDisconnected(
                    f"{self.name}: the reader has disconnected before the end"
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
            raise OutputCancelled(f"{self.name}: no reader has connected") from error
        except BlockingIOError:
            return False  # not yet: the next block asks again
        except OSError as error:
            self._last_fault = _reason(error)
            self._plan_next_try()
            return False
        if self._dropped:
            logger.warning(
                "%s: connected again; %s frames were dropped meanwhile", self.name, self._dropped
            )
            self._dropped = 0
        return True

    def _on_lost(self, error: OSError) -> None:
        self._drop_connection()
        self._last_fault = _reason(error)
        if self._sole_output and self._listening and isinstance(error, ConnectionError):
            raise ReaderDisconnected(f"{self.name}: the reader has disconnected") from error
        if self._sole_output:
            raise OutputError(f"{self.name}: {_reason(error)}") from error
        logger.warning(
            "%s: %s; the other outputs continue, trying again", self.name, _reason(error)
        )
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
    # an error of ffmpeg has no number, and its text may be mixed case
    reason = os_reason(error) if error.errno else str(error)
    return reason or "the connection was lost"
