"""Resampling of a clip's frames to a constant frame rate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from av.video.frame import VideoFrame

MAX_FRAME_SECONDS = 60  # longest display time of a frame; longer gaps are timestamp errors
MAX_BACKWARD = Fraction(1, 2)  # seconds by which a timestamp may decrease


@dataclass(slots=True)
class Clock:
    """Continuous time of each frame in seconds; jumps of the file's timestamps are removed."""

    interval: Fraction  # seconds between frames that have no timestamps
    last: Fraction | None = None
    shift: Fraction = Fraction(0)
    jumps: int = 0

    def time_of(self, frame: VideoFrame) -> Fraction:
        """Compute when a frame begins; call it in display order."""
        last = self.last
        if frame.pts is None or not frame.time_base:
            time = Fraction(0) if last is None else last + self.interval
        else:
            time = frame.pts * frame.time_base + self.shift
            if last is not None and not last - MAX_BACKWARD <= time <= last + MAX_FRAME_SECONDS:
                self.jumps += 1
                self.shift += last + self.interval - time
                time = last + self.interval
        self.last = time
        return time


def in_steps(
    frames: Iterable[VideoFrame], clock: Clock, fps: Fraction
) -> Iterator[tuple[VideoFrame, int]]:
    """Yield frames in order, each with its number of repetitions at `fps`, which can be 0.

    A frame is shown until the next one begins, the last one for as long as the one before it.
    """
    shown = ((clock.time_of(frame), frame) for frame in frames)
    first = next(shown, None)
    if first is None:
        return
    (begin, frame), count, duration = first, 0, Fraction(0)
    until = begin
    for time, following in shown:
        duration = time - until
        until = time
        steps = max(0, _steps(until - begin, fps) - count)
        yield frame, steps
        count += steps
        frame = following
    yield frame, max(not count, _steps(until + max(duration, Fraction(0)) - begin, fps) - count)


def _steps(seconds: Fraction, fps: Fraction) -> int:
    """Count the steps that begin before a time; containers round times by part of a frame."""
    return ceil(seconds * fps - Fraction(1, 4))
