"""A recording beside a live stream, which may end before the stream does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .errors import SinkError
from .format import VideoFormat
from .sink import Sink

if TYPE_CHECKING:
    from ..engine.block import Block


class RecordingSink:
    """Writes to a file as long as there is room; then the file is completed and the stream goes on.

    `full` is asked before each block and says why no more can be recorded, or None; `ended` hears
    what became of the recording, in a sentence for whoever watches.
    """

    durable = False

    def __init__(
        self,
        file: Sink,
        video: VideoFormat,
        full: Callable[[], str | None],
        ended: Callable[[str], None],
    ) -> None:
        self._file = file
        self._video = video
        self._full = full
        self._ended = ended

    @property
    def label(self) -> str:
        """The file's name."""
        return self._file.label

    @property
    def frames(self) -> int:
        """How many frames are in the file."""
        return self._file.frames

    def write(self, block: Block) -> None:
        """Record one block; raises SinkError when there is no room for it."""
        if (why := self._full()) is not None:
            self._end(why)
            kept = f"{self.frames} frames ({self._video.seconds(self.frames):.1f} s) are recorded"
            raise SinkError(f"{self.label}: {why}; {kept}")
        try:
            self._file.write(block)
        except SinkError as error:
            self._end(str(error.__cause__ or error))
            raise

    def close(self) -> None:
        """Complete the file."""
        self._file.close()

    def _end(self, why: str) -> None:
        minutes, seconds = divmod(round(self._video.seconds(self.frames)), 60)
        self._ended(f"The recording ends at {minutes}:{seconds:02}, the stream goes on: {why}.")
