"""Drawing of the subjects kite, bird and fox."""

from __future__ import annotations

from math import cos, pi, sin

from .light import RGB, RIM, shade
from .motion import turns
from .pen import Pen

DARK: RGB = (40, 34, 44)


def draw_kite(pen: Pen, colour: RGB, seconds: float) -> None:
    """Draw a diamond kite with a waving tail of bows; its origin is where its sticks cross."""
    rim = shade(colour, RIM)
    tail = [(sin(turns(8, seconds) - i * 0.8) * (1.5 + i * 0.9), -28.0 - i * 7) for i in range(5)]
    pen.line([(0, -26), *tail], DARK, 1.4)
    for x, y in tail[1::2]:
        pen.polygon([(x, y), (x - 8, y + 5), (x - 8, y - 5)], colour)
        pen.polygon([(x, y), (x + 8, y + 5), (x + 8, y - 5)], colour)
    pen.polygon([(0, 24), (19, 4), (0, -27), (-19, 4)], colour, rim)
    pen.polygon([(0, 24), (19, 4), (0, 4)], shade(colour, 0.72))
    pen.polygon([(0, 4), (-19, 4), (0, -27)], shade(colour, 0.72))


def draw_bird(pen: Pen, colour: RGB, seconds: float) -> None:
    """Draw a broad-winged bird; its origin is the middle of its body."""
    rim = shade(colour, RIM)
    flap = sin(turns(8, seconds))
    tip = 8 + 22 * flap
    far_wing = [(-4.0, 3.0), (10, 3), (2, tip * 0.9 + 3), (-14, tip + 6)]
    pen.polygon(far_wing, shade(colour, 0.62), rim)
    pen.polygon([(-18, 1), (-38, 9), (-35, -1), (-38, -8)], shade(colour, 0.75), rim)
    pen.ellipse((0, 0), 23, 10, colour, rim)
    pen.polygon([(-8, 3), (10, 3), (-6, tip + 2), (-26, tip + 6)], colour, rim)
    pen.ellipse((22, 6), 9, 8, colour, rim)
    pen.polygon([(30, 8), (41, 4), (30, 2)], (245, 160, 40))
    pen.ellipse((25, 8), 2, 2, DARK)


def draw_fox(pen: Pen, colour: RGB, seconds: float) -> None:
    """Draw a walking fox with a white-tipped tail; its origin is the ground under it."""
    rim = shade(colour, RIM)
    stride = turns(8, seconds)
    for x, phase in ((-19, pi), (17, 0.0)):
        _leg(pen, x + 4, stride + phase + pi, shade(colour, 0.6))
    pen.polygon([(-22, 30), (-46, 42), (-58, 34), (-50, 24), (-26, 20)], colour, rim)
    pen.polygon([(-47, 41), (-58, 34), (-52, 27)], (250, 250, 250))
    pen.ellipse((0, 25), 28, 11, colour, rim)
    for x, phase in ((-19, pi), (17, 0.0)):
        _leg(pen, x, stride + phase, colour)
    pen.polygon([(22, 40), (26, 55), (33, 45)], colour, rim)
    pen.polygon([(33, 43), (40, 53), (42, 40)], shade(colour, 0.7), rim)
    pen.ellipse((32, 36), 13, 11, colour, rim)
    pen.polygon([(40, 39), (55, 31), (38, 28)], (250, 250, 250), rim)
    pen.ellipse((54, 31), 2, 2, DARK)
    pen.ellipse((36, 39), 2, 2, DARK)


def _leg(pen: Pen, x: float, phase: float, colour: RGB) -> None:
    foot = x + 6 * sin(phase)
    lift = max(0.0, cos(phase)) * 3
    pen.line([(x, 18), (foot, lift)], colour, 6)
    pen.line([(foot - 2, lift + 1), (foot + 4, lift + 1)], DARK, 3)
