"""A recording beside a live stream, which may end before the stream does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sana_stream.errors import OutputError
from sana_stream.streaming.video_format import VideoFormat

from .base import Output

if TYPE_CHECKING:
    from sana_stream.engine.block import Block


class LimitedRecording:
    """Writes to a file as long as that is possible; whatever happens to it, the stream goes on.

    `full` is asked before each block and says why no more can be recorded, or None. `report` and
    `ended` hear what became of the recording, for the log and for whoever watches. `begun` is
    called once there is a file, `whole` once it is as it will stay.
    """

    durable = False

    def __init__(
        self,
        file: Output,
        video: VideoFormat,
        full: Callable[[], str | None],
        report: Callable[[str], None],
        ended: Callable[[str], None],
        begun: Callable[[], None] = lambda: None,
        whole: Callable[[], None] = lambda: None,
    ) -> None:
        self._file = file
        self._video = video
        self._full = full
        self._report = report
        self._ended = ended
        self._begun = begun
        self._whole = whole
        self._over = False

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
            if (why := self._full()) is None:
                first = not self.frames
                self._file.write(block)
                if first:
                    self._begun()
                return
            kept = f"{self.frames} frames ({self._video.seconds(self.frames):.1f} s) are recorded"
            self._end(why, f"{self.name}: {why}; {kept}")
        except Exception as error:  # of any kind: no recording is a reason to end a stream
            told = (
                str(error) if isinstance(error, OutputError) else f"{self.name}: {_reason(error)}"
            )
            self._end(_reason(error.__cause__ or error), told)

    def close(self) -> None:
        """Complete the file."""
        if self._over:
            return
        self._over = True
        try:
            self._complete()
        except Exception as error:
            self._report(f"{_reason(error)}; the stream was not touched by it")
            self._ended(f"The recording is not complete: {_reason(error.__cause__ or error)}.")

    def _end(self, why: str, told: str) -> None:
        self._over = True
        self._report(f"{told}; the other outputs go on")
        minutes, seconds = divmod(round(self._video.seconds(self.frames)), 60)
        self._ended(f"The recording ends at {minutes}:{seconds:02}, the stream goes on: {why}.")
        try:
            self._complete()
        except Exception as error:
            if _reason(error.__cause__ or error) != why:
                self._report(_reason(error))

    def _complete(self) -> None:
        try:
            self._file.close()
        finally:
            self._whole()


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__
