"""When the frames of a clip are shown, in steps of another rate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from av.video.frame import VideoFrame

LONGEST = 60  # seconds that a frame may stand; times that are further apart are taken for a fault
BACK = Fraction(1, 2)  # seconds by which a time may go back


@dataclass(slots=True)
class Clock:
    """The time of each frame, in seconds; follows on where the file's own times jump."""

    interval: Fraction  # seconds between frames, where their times do not tell
    last: Fraction | None = None
    shift: Fraction = Fraction(0)
    jumps: int = 0

    def time_of(self, frame: VideoFrame) -> Fraction:
        """When a frame begins; frames are asked for in the order in which they are shown."""
        last = self.last
        if frame.pts is None or not frame.time_base:
            time = Fraction(0) if last is None else last + self.interval
        else:
            time = frame.pts * frame.time_base + self.shift
            if last is not None and not last - BACK <= time <= last + LONGEST:
                self.jumps += 1
                self.shift += last + self.interval - time
                time = last + self.interval
        self.last = time
        return time


def in_steps(
    frames: Iterable[VideoFrame], clock: Clock, fps: Fraction
) -> Iterator[tuple[VideoFrame, int]]:
    """Frames in order, each with how many steps of `1 / fps` seconds it is shown for, or 0.

    A frame is shown until the next one begins, the last one for as long as the one before it.
    """
    shown = ((clock.time_of(frame), frame) for frame in frames)
    first = next(shown, None)
    if first is None:
        return
    (begin, frame), count, lasts = first, 0, Fraction(0)
    until = begin
    for time, after in shown:
        lasts = time - until
        until = time
        steps = max(0, _steps(until - begin, fps) - count)
        yield frame, steps
        count += steps
        frame = after
    yield frame, max(not count, _steps(until + max(lasts, Fraction(0)) - begin, fps) - count)


def _steps(seconds: Fraction, fps: Fraction) -> int:
    """How many steps begin before a time; containers round times by a part of a frame."""
    return ceil(seconds * fps - Fraction(1, 4))
