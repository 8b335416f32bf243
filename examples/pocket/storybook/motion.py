"""Where a subject is at a time: always on screen, turning round like a paper figure."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np

from .world import WIDTH

SIZE = {"far": 0.72, "middle": 1.0, "near": 1.2}
FLAPS = 0.8  # of a bird's wings, a second


@dataclass(frozen=True, slots=True)
class Path:
    """A swing about the middle: phase 0 heads right, phase pi heads left."""

    phase: float
    period: float  # seconds

    def x(self, seconds: float) -> float:
        return WIDTH * (0.5 + 0.21 * sin(self._angle(seconds)))

    def facing(self, seconds: float) -> float:
        """In [-1, 1]: which way the figure looks; it narrows for a moment while it turns."""
        turn = max(-1.0, min(1.0, 3.5 * cos(self._angle(seconds))))
        return turn if abs(turn) > 0.3 else (0.3 if turn >= 0 else -0.3)

    def _angle(self, seconds: float) -> float:
        return self.phase + 2 * pi * seconds / self.period


def draw_path(rng: np.random.Generator) -> Path:
    """A path by lot: it begins near the middle, to the right: a first picture is not a guess."""
    return Path(float(rng.normal(0, 0.35)), float(rng.uniform(9.0, 11.0)))


def height_and_tilt(subject: str, seconds: float) -> tuple[float, float]:
    """Height of the subject's origin in picture pixels from the top, and its tilt in radians."""
    if subject == "balloon":
        return 48 + 9 * cos(2 * pi * seconds / 8), 0.04 * sin(seconds * 1.3)
    if subject == "kite":
        return 50 + 10 * sin(seconds * 1.9), 0.35 * sin(seconds * 1.5)
    if subject == "bird":
        return 50 - 3 * sin(2 * pi * FLAPS * seconds) + 6 * sin(seconds * 0.8), 0.08 * sin(
            seconds * 0.8
        )
    if subject == "boat":
        return 107 + 1.2 * sin(seconds * 2.2), 0.06 * sin(seconds * 1.7)
    return {"train": 106.0, "fox": 114.0}[subject], 0.0
