"""Drawing of the subjects balloon, boat and train."""

from __future__ import annotations

from .light import RGB, RIM, shade
from .pen import Pen

DARK: RGB = (40, 34, 44)


def draw_balloon(pen: Pen, colour: RGB, seconds: float) -> None:
    """Draw a hot-air balloon with a basket; its origin is the middle of the envelope."""
    rim = shade(colour, RIM)
    pen.line([(-9, -18), (-5, -33)], DARK, 1.2)
    pen.line([(9, -18), (5, -33)], DARK, 1.2)
    pen.box(-6, -42, 6, -33, (150, 96, 50), (84, 50, 26))
    pen.polygon([(-19, -8), (19, -8), (8, -25), (-8, -25)], colour, rim)
    pen.ellipse((0, 3), 23, 22, colour, rim)
    pen.polygon([(-17.5, -10), (17.5, -10), (8, -24), (-8, -24)], colour)
    pen.ellipse((0, 1), 9, 23, shade(colour, 0.72))
    pen.ellipse((0, 1), 3.5, 23, colour)
    pen.ellipse((-12, 12), 3.5, 5, shade(colour, 1.6))


def draw_boat(pen: Pen, colour: RGB, seconds: float) -> None:
    """Draw a sailing boat, hull and sail of one colour; its origin is the water line."""
    rim = shade(colour, RIM)
    pen.line([(-2, 6), (-2, 52)], (92, 60, 36), 2.2)
    pen.polygon([(1, 14), (1, 51), (26, 14)], colour, rim)
    pen.polygon([(-5, 14), (-5, 44), (-20, 14)], shade(colour, 0.75), rim)
    pen.polygon([(-31, 11), (33, 11), (23, -5), (-23, -5)], colour, rim)
    pen.polygon([(-29, 8), (31, 8), (30, 5), (-27, 5)], shade(colour, 0.6))


def draw_train(pen: Pen, colour: RGB, seconds: float) -> None:
    """Draw a steam engine with one wagon; its origin is the rail under the middle."""
    rim = shade(colour, RIM)
    glass = (255, 236, 170)
    for puff in range(2):
        age = (seconds + puff / 2) % 1.0
        tone = round(215 + 20 * age)
        pen.ellipse((34 - 26 * age, 40 + 10 * age), 4 + 4 * age, 3 + 3 * age, (tone, tone, tone))
    pen.box(-52, 6, -8, 31, colour, rim)
    pen.box(-54, 30, -6, 34, shade(colour, 0.6))
    for left in (-47, -34, -21):
        pen.box(left, 16, left + 8, 25, glass)
    pen.box(-8, 7, -2, 10, DARK)
    pen.box(-2, 6, 18, 35, colour, rim)
    pen.box(-4, 34, 20, 38, shade(colour, 0.6))
    pen.box(3, 19, 13, 30, glass)
    pen.box(18, 6, 44, 25, colour, rim)
    pen.box(31, 25, 38, 36, DARK)
    pen.polygon([(44, 6), (54, 2), (44, 14)], DARK)
    for x in (-44, -17, 5, 22, 37):
        pen.ellipse((x, 5), 6, 6, DARK)
        pen.ellipse((x, 5), 2.5, 2.5, (190, 190, 190))
