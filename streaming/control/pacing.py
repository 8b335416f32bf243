"""When to begin the next block of a stream that somebody watches while it is made."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

from sana_stream.streaming.video_format import VideoFormat

LEAD_SECONDS = 0.4  # seconds of finished video to spare when a block begins


class RealtimePacer:
    """Lets a block begin when what is left to play lasts about as long as making it.

    So a prompt shows soon after it was given, however fast the blocks could be made. Playing is
    taken to begin with the first block and to wait when it has caught up.
    """

    def __init__(
        self, video: VideoFormat, stop: Event, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._video = video
        self._stop = stop
        self._clock = clock
        self._played_out = clock()  # when everything made so far will have been shown
        self._making = 0.0

    def on_block(self, frames: int, seconds: float) -> None:
        """Say that a block was finished, and how long its making took."""
        now = self._clock()
        self._played_out = max(self._played_out, now) + self._video.seconds(frames)
        self._making = seconds

    def delay(self) -> float:
        """Seconds to wait before the next block begins; never negative."""
        left = self._played_out - self._clock()
        return max(0.0, left - self._making - LEAD_SECONDS)

    def wait(self) -> None:
        """Wait so long, or until the run is to stop."""
        self._stop.wait(self.delay())
