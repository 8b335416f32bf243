"""Drawing of the places: a land layer with a transparent sky, drawn once per scene."""

from __future__ import annotations

from collections.abc import Callable
from math import sin

import numpy as np
from PIL import Image, ImageDraw

from .light import RGB, Light, shade
from .world import STAGE_HEIGHT, STAGE_WIDTH, WIDTH

REDUCED = 2  # scenes are drawn larger than frames, and reduced
SCALE = REDUCED * WIDTH // STAGE_WIDTH  # canvas pixels per unit
WATER: RGB = (44, 118, 196)
SAND: RGB = (238, 208, 144)

Ridge = Callable[[float], float]


def draw_land(place: str, subject: str, time: str, light: Light) -> Image.Image:
    """Draw a place as RGBA canvas, with the water, rails or beach that the subject needs."""
    image = Image.new("RGBA", (STAGE_WIDTH * SCALE, STAGE_HEIGHT * SCALE))
    pen = ImageDraw.Draw(image)
    rng = np.random.default_rng(1)  # one layout per place: a caption leaves nothing open
    _PLACES[place](pen, light, rng, time)
    if subject == "boat" and place != "sea":
        _band(pen, 99, 128, light.on_land(WATER))
        _band(pen, 97, 99, light.on_land(shade(SAND, 0.85)))
    elif subject == "train":
        _bridge(pen, light) if place == "sea" else _rails(pen, light)
    elif subject == "fox" and place == "sea":
        _ridge(pen, lambda x: 103 + 1.5 * sin(x / 30), light.on_land(SAND))
    return image


def water_line(place: str, subject: str) -> float | None:
    """Height at which water begins, in units from the top, or None."""
    if place == "sea":
        return 80.0
    return 99.0 if subject == "boat" else None


def _sea(pen: ImageDraw.ImageDraw, light: Light, rng: np.random.Generator, time: str) -> None:
    _band(pen, 80, 128, light.on_land(WATER))
    _band(pen, 80, 90, light.on_land(shade(WATER, 1.15)))
    x = float(rng.uniform(20, 60)) if rng.random() < 0.5 else float(rng.uniform(150, 190))
    _ridge(pen, lambda u: 80 - max(0.0, 9 - abs(u - x) * 0.4), light.on_land((96, 120, 110)), 81)


def _hills(pen: ImageDraw.ImageDraw, light: Light, rng: np.random.Generator, time: str) -> None:
    p = rng.uniform(0, 6, 3)
    _ridge(pen, lambda x: 72 + 9 * sin(x / 34 + p[0]), light.on_land((150, 200, 120)))
    _ridge(pen, lambda x: 84 + 7 * sin(x / 26 + p[1]), light.on_land((112, 178, 84)))
    _ridge(pen, lambda x: 101 + 2 * sin(x / 40 + p[2]), light.on_land((80, 150, 62)))


def _mountains(pen: ImageDraw.ImageDraw, light: Light, rng: np.random.Generator, time: str) -> None:
    stone, snow = light.on_land((120, 128, 156)), light.on_land((244, 248, 255))
    for i, centre in enumerate((18, 75, 140, 200)):
        x, top = centre + float(rng.uniform(-12, 12)), 34 + 12 * (i % 2) + float(rng.uniform(-5, 5))
        wide = (96 - top) * 0.85
        _polygon(pen, [(x - wide, 96), (x, top), (x + wide, 96)], stone)
        _polygon(pen, [(x, top), (x + wide, 96), (x + wide * 0.2, 96)], shade(stone, 0.8))
        _polygon(
            pen,
            [
                (x - 11, top + 13),
                (x, top),
                (x + 11, top + 13),
                (x + 3, top + 10),
                (x - 3, top + 14),
            ],
            snow,
        )
    _ridge(pen, lambda x: 97 + 2 * sin(x / 22), light.on_land((104, 140, 96)))


def _desert(pen: ImageDraw.ImageDraw, light: Light, rng: np.random.Generator, time: str) -> None:
    p = rng.uniform(0, 6, 2)
    _ridge(pen, lambda x: 80 + 6 * sin(x / 38 + p[0]), light.on_land((246, 214, 150)))
    _ridge(pen, lambda x: 97 + 3 * sin(x / 30 + p[1]), light.on_land((230, 184, 112)))
    green = light.on_land((76, 140, 84))
    for x in (24 + float(rng.uniform(-8, 8)), 196 + float(rng.uniform(-8, 8))):
        _bar(pen, x - 3, 66, x + 3, 98, green)
        _bar(pen, x - 11, 76, x + 8, 80, green)
        _bar(pen, x - 11, 70, x - 7, 80, green)
        _bar(pen, x + 7, 72, x + 11, 80, green)


def _forest(pen: ImageDraw.ImageDraw, light: Light, rng: np.random.Generator, time: str) -> None:
    for base, height, step, tone in ((88, 44, 24, (70, 128, 92)), (98, 38, 31, (40, 96, 64))):
        for i, x in enumerate(range(-4, STAGE_WIDTH + 8, step)):
            tall = height + 7 * ((i * 7 + int(rng.integers(3))) % 3 - 1)
            for part in range(3):
                top = base - tall + part * tall * 0.25
                wide = step * (0.34 + 0.13 * part)
                _polygon(
                    pen,
                    [(x - wide, top + tall * 0.42), (x, top), (x + wide, top + tall * 0.42)],
                    light.on_land(tone),
                )
        _band(pen, base - 3, 128, light.on_land(shade(tone, 0.9)))
    _band(pen, 98, 128, light.on_land((92, 132, 72)))


def _town(pen: ImageDraw.ImageDraw, light: Light, rng: np.random.Generator, time: str) -> None:
    lit = (255, 222, 120) if time in ("night", "sunset") else light.on_land((120, 150, 180))
    walls = ((232, 208, 184), (206, 190, 178), (224, 196, 160), (196, 184, 190))
    for i, x in enumerate(range(-8, STAGE_WIDTH, 33)):
        top, wall = 66 + 6 * ((i * 5 + int(rng.integers(3))) % 3), light.on_land(walls[i % 4])
        _bar(pen, x, top, x + 31, 100, wall)
        _polygon(
            pen, [(x - 3, top), (x + 15.5, top - 16), (x + 34, top)], light.on_land((150, 92, 72))
        )
        for column in (x + 4, x + 18):
            _bar(pen, column, top + 5, column + 9, top + 14, lit)
    _band(pen, 98, 128, light.on_land((150, 146, 140)))


_PLACES = {
    "sea": _sea,
    "hills": _hills,
    "mountains": _mountains,
    "desert": _desert,
    "forest": _forest,
    "town": _town,
}


def _rails(pen: ImageDraw.ImageDraw, light: Light) -> None:
    _band(pen, 104, 128, light.on_land((140, 112, 86)))
    for x in range(0, STAGE_WIDTH, 16):
        _bar(pen, x, 109, x + 9, 114, light.on_land((96, 70, 50)))
    _band(pen, 106, 108, light.on_land((70, 70, 78)))


def _bridge(pen: ImageDraw.ImageDraw, light: Light) -> None:
    stone = light.on_land((168, 150, 132))
    for x in range(8, STAGE_WIDTH, 50):
        _bar(pen, x, 108, x + 10, 128, shade(stone, 0.8))
    _band(pen, 106, 113, stone)
    _band(pen, 106, 107, light.on_land((70, 70, 78)))


def _ridge(pen: ImageDraw.ImageDraw, ridge: Ridge, fill: RGB, bottom: float = STAGE_HEIGHT) -> None:
    edge = [(float(x), ridge(x)) for x in range(0, STAGE_WIDTH + 4, 4)]
    _polygon(pen, [*edge, (STAGE_WIDTH + 4.0, bottom), (0.0, bottom)], fill)


def _polygon(pen: ImageDraw.ImageDraw, points: list[tuple[float, float]], fill: RGB) -> None:
    pen.polygon([(x * SCALE, y * SCALE) for x, y in points], fill=(*fill, 255))


def _bar(
    pen: ImageDraw.ImageDraw, left: float, top: float, right: float, bottom: float, fill: RGB
) -> None:
    _polygon(pen, [(left, top), (right, top), (right, bottom), (left, bottom)], fill)


def _band(pen: ImageDraw.ImageDraw, top: float, bottom: float, fill: RGB) -> None:
    _bar(pen, 0, top, STAGE_WIDTH, bottom, fill)
