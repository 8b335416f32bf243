"""Pacing the generation of a stream that is watched live."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

from sana_stream.streaming.video_format import VideoFormat

LEAD_SECONDS = 0.4  # of finished video that is left when a block begins


class RealtimePacer:
    """Delays each block until the video left to play lasts about as long as generating the block.

    A new prompt is therefore shown soon, however fast blocks can be generated. Playback is assumed
    to begin with the first block and to wait when it has caught up.

    Args:
        video: its rate.
        stop: ends a wait.
        clock: in seconds.
        lead_seconds: of finished video that is left when a block begins.
    """

    def __init__(
        self,
        video: VideoFormat,
        stop: Event,
        clock: Callable[[], float] = time.monotonic,
        lead_seconds: float = LEAD_SECONDS,
    ) -> None:
        self._video = video
        self._lead = lead_seconds
        self._stop = stop
        self._clock = clock
        self._played_out = clock()  # when everything generated so far will have been played
        self._generation = 0.0
        self._due: float | None = None  # when the block that is being generated is to be there

    @property
    def deadline(self) -> float:
        """When everything generated so far will have been played, in seconds of the clock."""
        return self._played_out

    def on_block(self, frames: int, seconds: float) -> bool:
        """Record a finished block, and the seconds that its generation took.

        Returns:
            Whether the block was in time: before everything generated before it was played out,
            unless that was the case when the block began, as with the first one and after a pause.
        """
        now = self._clock()
        in_time, self._due = self._due is None or now <= self._due, None
        self._played_out = max(self._played_out, now) + self._video.seconds(frames)
        self._generation = seconds
        return in_time

    def delay(self) -> float:
        """Seconds to wait before the next block begins; never negative."""
        left = self._played_out - self._clock()
        return max(0.0, left - self._generation - self._lead)

    def wait(self) -> None:
        """Wait for `delay` seconds, or until the run is to stop."""
        self._stop.wait(self.delay())
        self._due = self._played_out if self._played_out > self._clock() else None
