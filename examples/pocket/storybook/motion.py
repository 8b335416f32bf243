"""Where a subject is at a time: always on screen, turning round like a paper figure."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np

from .world import WIDTH

SIZE = {"far": 0.72, "middle": 1.0, "near": 1.2}
PHASES = (-0.6, 0.0, 0.6)  # where a swing begins: left of the middle, there, or right of it
CYCLE = 8.0  # seconds after which every movement begins again, but clouds: after two of them


@dataclass(frozen=True, slots=True)
class Path:
    """A swing about the middle: phase 0 heads right, phase pi heads left."""

    phase: float

    def x(self, seconds: float) -> float:
        return WIDTH * (0.5 + 0.2 * sin(self._angle(seconds)))

    def facing(self, seconds: float) -> float:
        """In [-1, 1]: which way the figure looks; it narrows for a moment while it turns."""
        turn = max(-1.0, min(1.0, 3.5 * cos(self._angle(seconds))))
        return turn if abs(turn) > 0.3 else (0.3 if turn >= 0 else -0.3)

    def _angle(self, seconds: float) -> float:
        return self.phase + turns(1, seconds)


def draw_path(rng: np.random.Generator) -> Path:
    """A path by lot; it begins by heading right."""
    return Path(float(rng.choice(PHASES)))


def turns(count: int, seconds: float) -> float:
    """The angle of something that goes round `count` times in a cycle."""
    return 2 * pi * count * seconds / CYCLE


def height_and_tilt(subject: str, seconds: float) -> tuple[float, float]:
    """Height of the subject's origin in picture pixels from the top, and its tilt in radians."""
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
