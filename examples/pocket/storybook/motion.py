"""Position of a subject over time: always inside the frame, mirrored when it turns.

Streams begin at whole seconds of a cycle, and blocks last a second. Thus a block shows one of eight
moments of a subject's movement (of two cycles, where there are clouds), and its past shows which.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

from .world import STAGE_WIDTH

SIZE = {"far": 0.72, "middle": 1.0, "near": 1.2}
CYCLE = 8.0  # seconds; the period of every movement, except clouds, which have two cycles
BEGINNINGS = {"middle": 0.0, "left": 7.0, "right": 3.0}  # seconds, by where the subject begins


@dataclass(frozen=True, slots=True)
class Path:
    """A swing about the middle, which begins there and moves right if its phase is zero."""

    phase: float = 0.0

    def x(self, seconds: float) -> float:
        return STAGE_WIDTH * (0.5 + 0.2 * sin(self._angle(seconds)))

    def facing(self, seconds: float) -> float:
        """Direction in [-1, 1]; the figure is narrow for a moment while it turns."""
        turn = max(-1.0, min(1.0, 3.5 * cos(self._angle(seconds))))
        return turn if abs(turn) > 0.3 else (0.3 if turn >= 0 else -0.3)

    def _angle(self, seconds: float) -> float:
        return self.phase + turns(1, seconds)


def turns(count: int, seconds: float) -> float:
    """Angle of a movement with `count` periods in a cycle."""
    return 2 * pi * count * seconds / CYCLE


def height_and_tilt(subject: str, seconds: float) -> tuple[float, float]:
    """Height of the subject's origin in units from the top, and its tilt in radians."""
    if subject == "balloon":
        return 48 + 9 * cos(turns(1, seconds)), 0.05 * sin(turns(2, seconds))
    if subject == "kite":
        return 50 + 10 * sin(turns(2, seconds)), 0.35 * cos(turns(2, seconds))
    if subject == "bird":
        glide = turns(1, seconds)
        return 50 - 3 * sin(turns(8, seconds)) + 6 * sin(glide), 0.08 * sin(glide)
    if subject == "boat":
        return 107 + 1.5 * sin(turns(4, seconds)), 0.07 * cos(turns(2, seconds))
    return {"train": 106.0, "fox": 114.0}[subject], 0.0
