"""Length of a video in frames, and the prompt of each of its blocks."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, isfinite

from sana_stream.engine.block import BlockPlan, BlockSpan, PlanView
from sana_stream.errors import ConfigError

from .story import MAX_FRAME, Cue


def frame_count(seconds: float | Fraction, fps: float | Fraction) -> int:
    """Convert a duration to frames, rounded to the nearest whole frame.

    60 s at 16 frames per second are 960.

    Raises:
        ConfigError: less than half a frame, or more than `MAX_FRAME` frames.
    """
    frames = round(Fraction(seconds) * Fraction(fps)) if isfinite(seconds) else 0
    if frames < 1:
        raise ConfigError(f"a video of {float(seconds):g} s has no frame: give more than 0")
    if frames > MAX_FRAME:
        raise ConfigError(
            f"a video of {frames} frames is too long: at most {MAX_FRAME} are allowed"
        )
    return frames


@dataclass(frozen=True, slots=True)
class Placement:
    """Block at which a cue takes effect: the first that starts at or after the cue's time."""

    cue: Cue
    block: int | None  # None: the prompt is never shown, as the next one or the end comes first
    frame: int | None  # first pixel frame that shows the prompt


@dataclass(frozen=True, slots=True)
class Timeline:
    """A story's schedule (starts in seconds, ascending from 0) at `fps` frames per second."""

    cues: tuple[Cue, ...]
    fps: float

    def prompt_at(self, frame: int) -> str:
        """Return the prompt for a block that starts at this pixel frame."""
        return self.cue_at(frame).prompt

    def cue_at(self, frame: int) -> Cue:
        """Return the cue for a block that starts at this pixel frame."""
        return self.cues[max(0, bisect_right(self.cues, frame, key=self.frame) - 1)]

    def image_between(self, before: int, frame: int) -> str | None:
        """Return the image to cut to at a block's first pixel frame, or `None`.

        Args:
            before: first frame of the previous block.
            frame: first frame of the block. Of several images due, the latest is used.
        """
        first = bisect_right(self.cues, before, key=self.frame)
        last = bisect_right(self.cues, frame, key=self.frame)
        return next((cue.image for cue in reversed(self.cues[first:last]) if cue.image), None)

    def with_cuts(self, plan: BlockPlan | PlanView) -> BlockPlan | PlanView:
        """Return the block plan with the story's cuts."""
        for cue in self.cues:
            if cue.image is not None:
                frame = self.frame(cue)
                plan = plan.cut(plan.blocks_for(frame) if frame else 0)
        return plan

    def next_cue(self, frame: int) -> Cue | None:
        """Return the first cue whose time is after this pixel frame."""
        index = bisect_right(self.cues, frame, key=self.frame)
        return self.cues[index] if index < len(self.cues) else None

    def frame(self, cue: Cue) -> int:
        """First pixel frame at or after the cue's time."""
        # Times are written to the millisecond: a time rounded up must still mean its frame.
        return max(0, ceil(((cue.start_seconds or 0.0) - 0.0006) * self.fps))

    def place(self, plan: BlockPlan | PlanView, frames: int | None) -> tuple[Placement, ...]:
        """Compute where each cue takes effect, in a stream of `frames` frames (`None`: endless)."""
        starts = [self.frame(cue) for cue in self.cues]
        found = [plan.block(plan.blocks_for(frame) if frame else 0) for frame in starts]
        ends = [block.start for block in found[1:]]
        return tuple(
            _placement(cue, block, end, frames)
            for cue, block, end in zip(self.cues, found, [*ends, None], strict=True)
        )


def _placement(cue: Cue, block: BlockSpan, end: int | None, frames: int | None) -> Placement:
    overtaken = end is not None and end <= block.start
    if overtaken or (frames is not None and block.start >= frames):
        return Placement(cue, None, None)
    return Placement(cue, block.index, block.start)
