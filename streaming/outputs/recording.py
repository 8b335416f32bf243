"""A recording of a live stream, which may end before the stream does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from sana_stream.errors import OutputError
from sana_stream.streaming.video_format import VideoFormat

from .base import Output

if TYPE_CHECKING:
    from sana_stream.engine.block import Block

logger = logging.getLogger(__name__)


class LimitedRecording:
    """Writes to a file as long as that is possible; if it fails, the stream continues.

    The end of the recording is logged as a warning.

    Args:
        file: the output that is written to.
        video: the format of the stream.
        full: called before each block; returns why no more can be recorded, or None.
        on_end: called with a sentence for viewers when the recording ends early.
        on_begin: called after the first block that this object writes.
        on_complete: called when the file is complete.
    """

    durable = False

    def __init__(
        self,
        file: Output,
        video: VideoFormat,
        full: Callable[[], str | None],
        on_end: Callable[[str], None],
        on_begin: Callable[[], None] = lambda: None,
        on_complete: Callable[[], None] = lambda: None,
    ) -> None:
        self._file = file
        self._video = video
        self._full = full
        self._on_end = on_end
        self._on_begin = on_begin
        self._on_complete = on_complete
        self._begun = self._over = False
        self._ended_early = False

    @property
    def ended_early(self) -> bool:
        """Whether the recording has ended while the stream continues."""
        return self._ended_early

    @property
    def name(self) -> str:
        """The file's name."""
        return self._file.name

    @property
    def frames(self) -> int:
        """How many frames are in the file."""
        return self._file.frames

    def write(self, block: Block) -> None:
        """Record one block, or nothing once the recording has ended."""
        if self._over:
            return
        try:
            reason = self._full()
            if reason is None:
                self._file.write(block)
                if not self._begun:
                    self._begun = True
                    self._on_begin()
                return
            kept = f"{self.frames} frames ({self._video.seconds(self.frames):.1f} s) are recorded"
            self._end(reason, f"{self.name}: {reason}; {kept}")
        except Exception as error:  # of any kind: a failed recording must not end a stream
            message = (
                str(error) if isinstance(error, OutputError) else f"{self.name}: {_reason(error)}"
            )
            self._end(_reason(error.__cause__ or error), message)

    def close(self) -> None:
        """Complete the file."""
        if self._over:
            return
        self._over = True
        try:
            self._complete()
        except Exception as error:
            logger.warning("%s; the stream is not affected", _reason(error))
            self._on_end(f"The recording is not complete: {_reason(error.__cause__ or error)}.")

    def _end(self, reason: str, message: str) -> None:
        self._over = self._ended_early = True
        logger.warning("%s; the other outputs continue", message)
        minutes, seconds = divmod(round(self._video.seconds(self.frames)), 60)
        self._on_end(
            f"The recording ends at {minutes}:{seconds:02}, the stream continues: {reason}."
        )
        try:
            self._complete()
        except Exception as error:
            if _reason(error.__cause__ or error) != reason:
                logger.warning("%s", _reason(error))

    def _complete(self) -> None:
        try:
            self._file.close()
        finally:
            self._on_complete()


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__
