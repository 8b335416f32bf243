"""Drawing of the sky: gradient, stars, sun or moon, drifting clouds, rain and snow."""

from __future__ import annotations

from collections.abc import Iterator
from math import sin

import numpy as np
from PIL import Image, ImageDraw

from .land import SCALE
from .light import RGB, Light, rgb
from .motion import CYCLE, turns
from .world import STAGE_HEIGHT, STAGE_WIDTH

SUN: dict[str, tuple[float, float, float, RGB]] = {
    "dawn": (46, 62, 13, (255, 246, 200)),
    "day": (182, 24, 13, (255, 238, 110)),
    "sunset": (112, 66, 17, (255, 206, 84)),
    "night": (182, 26, 13, (240, 240, 222)),
}
RAIN, SNOW = 0.25, 1.0  # period in seconds: a drop reaches the position of the next one
CLOUD_CYCLE = 2 * CYCLE  # period of the clouds in seconds
CLOUD_BOTTOM = 50  # no cloud is below it
CLOUDS = {"clear": 0, "cloudy": 4, "rain": 5, "snow": 4}


def draw_sky(time: str, weather: str, light: Light) -> Image.Image:
    """Draw the still part of the sky as RGB canvas; rain and snow hide sun and moon."""
    rows = np.linspace(0, 1.25, STAGE_HEIGHT * SCALE).clip(0, 1)[:, None]
    column = light.top[None] * (1 - rows) + light.bottom[None] * rows
    pixels = np.repeat(column.clip(0, 255).astype(np.uint8)[:, None], STAGE_WIDTH * SCALE, axis=1)
    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    if weather in ("clear", "cloudy"):
        if time == "night":
            _stars(pen)
        _disc(pen, time)
    return image


def draw_cloud(light: Light, weather: str) -> Image.Image:
    """Draw one RGBA cloud sprite."""
    rng = np.random.default_rng(101)
    tone = {"rain": 150, "snow": 214, "cloudy": 244, "clear": 244}[weather]
    fill = rgb(np.full(3, tone) * (0.35 + 0.65 * light.land))
    sprite = Image.new("RGBA", (72 * SCALE, 26 * SCALE))
    pen = ImageDraw.Draw(sprite)
    for i in range(5):
        x, r = 14 + 11 * i, (7, 10, 12, 10, 7)[i] + float(rng.uniform(-1.5, 1.5))
        box = [(x - r) * SCALE, (22 - 1.6 * r) * SCALE, (x + r) * SCALE, 23 * SCALE]
        pen.ellipse(box, fill=(*fill, 235))
    return sprite


def paste_clouds(canvas: Image.Image, sprite: Image.Image, weather: str, seconds: float) -> None:
    """Paste one or two rows of clouds that drift to the right periodically."""
    count = CLOUDS[weather]
    for i in range(count):
        span = STAGE_WIDTH + 72
        x = (i + seconds / CLOUD_CYCLE) * span / count % span - 72
        canvas.paste(sprite, (round(x * SCALE), round((6 + 17 * (i % 2)) * SCALE)), sprite)


def draw_fall(pen: ImageDraw.ImageDraw, weather: str, time: str, seconds: float) -> None:
    """Draw falling rain or snow over the whole frame; `pen` blends colours with an alpha.

    Drops move in streams, with a period of RAIN or SNOW seconds. These are whole latent frames, so
    that rain looks the same in each of them.
    """
    if weather == "rain":
        tone = (150, 165, 200, 80) if time == "night" else (222, 232, 248, 105)
        for x, y in _streams(19, 32.0, seconds / RAIN):
            x -= y / 6
            pen.line(
                [x * SCALE, y * SCALE, (x - 2) * SCALE, (y + 12) * SCALE],
                fill=tone,
                width=3 * SCALE // 2,
            )
    elif weather == "snow":
        for x, y in _streams(32, 26.0, seconds / SNOW):
            x, r = x + 6 * sin(y / 12 + x), 2.2
            pen.ellipse(
                [(x - r) * SCALE, (y - r) * SCALE, (x + r) * SCALE, (y + r) * SCALE],
                fill=(250, 250, 255),
            )


def _streams(gap: int, step: float, steps: float) -> Iterator[tuple[float, float]]:
    """Positions of drops, `step` pixels apart in streams with a gap, after `steps` steps."""
    for i, x in enumerate(range(gap // 2, STAGE_WIDTH + 24, gap)):
        y = (0.618 * i + steps) % 1 * step - step
        while y < STAGE_HEIGHT:
            yield float(x), y
            y += step


def draw_waves(pen: ImageDraw.ImageDraw, top: float, light: Light, seconds: float) -> None:
    """Draw short light strokes on the water that move with the waves; `pen` blends."""
    tone = (*light.on_land((150, 200, 240)), 170)
    for row in range(int((STAGE_HEIGHT - top) // 9)):
        y = top + 6 + row * 9
        for i in range(6):
            x = i * 44 + row * 27 % 44 - 15 + 5 * sin(turns(2, seconds) + row)
            pen.line(
                [x * SCALE, y * SCALE, (x + 14 + row) * SCALE, y * SCALE],
                fill=tone,
                width=2 * SCALE,
            )


def _stars(pen: ImageDraw.ImageDraw) -> None:
    rng = np.random.default_rng(5)
    for x, y, r in rng.uniform((0, 0, 0.7), (STAGE_WIDTH, 62, 1.3), (26, 3)):
        pen.ellipse(
            [(x - r) * SCALE, (y - r) * SCALE, (x + r) * SCALE, (y + r) * SCALE],
            fill=(250, 250, 225),
        )


def _disc(pen: ImageDraw.ImageDraw, time: str) -> None:
    x, y, r, tone = SUN[time]
    pen.ellipse([(x - r) * SCALE, (y - r) * SCALE, (x + r) * SCALE, (y + r) * SCALE], fill=tone)
