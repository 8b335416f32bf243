"""Drawing in a subject's own coordinates, on the canvas and on the subject's mask."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

from PIL import ImageDraw

from .land import SCALE
from .light import RGB

RIM_WIDTH = SCALE  # of outlines, in canvas pixels

Point = tuple[float, float]
_CIRCLE = [(cos(2 * pi * i / 28), sin(2 * pi * i / 28)) for i in range(28)]


@dataclass(frozen=True, slots=True)
class Pen:
    """A pen in units of the stage, y upwards; `facing` in [-1, 1] scales x."""

    canvas: ImageDraw.ImageDraw
    mask: ImageDraw.ImageDraw
    x: float
    y: float
    scale: float  # canvas pixels per local unit
    facing: float = 1.0
    tilt: float = 0.0  # radians, counter-clockwise

    def place(self, point: Point) -> Point:
        c, s = cos(self.tilt), sin(self.tilt)
        px, py = point[0] * c - point[1] * s, point[0] * s + point[1] * c
        return self.x + px * self.facing * self.scale, self.y - py * self.scale

    def polygon(self, points: list[Point], fill: RGB, outline: RGB | None = None) -> None:
        placed = [self.place(point) for point in points]
        self.canvas.polygon(placed, fill=fill, outline=outline, width=RIM_WIDTH)
        self.mask.polygon(placed, fill=255)

    def ellipse(
        self, centre: Point, rx: float, ry: float, fill: RGB, outline: RGB | None = None
    ) -> None:
        self.polygon([(centre[0] + rx * c, centre[1] + ry * s) for c, s in _CIRCLE], fill, outline)

    def box(
        self,
        left: float,
        bottom: float,
        right: float,
        top: float,
        fill: RGB,
        outline: RGB | None = None,
    ) -> None:
        self.polygon([(left, bottom), (right, bottom), (right, top), (left, top)], fill, outline)

    def line(self, points: list[Point], fill: RGB, width: float) -> None:
        placed = [self.place(point) for point in points]
        pixels = max(2, round(width * self.scale))
        self.canvas.line(placed, fill=fill, width=pixels, joint="curve")
        self.mask.line(placed, fill=255, width=pixels, joint="curve")
