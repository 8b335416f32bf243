"""Colours of the world: sky and light by time of day and weather."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RGB = tuple[int, int, int]

SUBJECT_RGB: dict[str, RGB] = {
    "red": (226, 38, 40),
    "yellow": (252, 212, 38),
    "green": (44, 176, 66),
    "blue": (40, 84, 226),
    "purple": (150, 54, 196),
    "white": (250, 250, 250),
}
RIM = 0.7  # brightness of a subject's outline relative to its colour


@dataclass(frozen=True, slots=True)
class Light:
    """The sky's two colours, the light on land and on subjects, the amount of snow on the land."""

    top: np.ndarray
    bottom: np.ndarray
    land: np.ndarray  # factor per channel
    subject: np.ndarray  # factor per channel, milder: subjects must keep their named colour
    snow: float

    def on_land(self, colour: RGB) -> RGB:
        white = np.array([240.0, 244.0, 250.0])
        return rgb((np.array(colour) * (1 - self.snow) + white * self.snow) * self.land)

    def on_subject(self, colour: RGB) -> RGB:
        return rgb(np.array(colour) * self.subject)


SKY: dict[str, tuple[RGB, RGB]] = {
    "dawn": ((150, 176, 226), (255, 208, 196)),
    "day": ((70, 150, 236), (186, 226, 252)),
    "sunset": ((110, 58, 128), (255, 142, 62)),
    "night": ((8, 12, 44), (38, 54, 110)),
}
LAND_LIGHT = {
    "dawn": (1.0, 0.88, 0.86),
    "day": (1.0, 1.0, 1.0),
    "sunset": (0.82, 0.58, 0.52),
    "night": (0.30, 0.36, 0.56),
}
GREY = {"clear": 0.0, "cloudy": 0.15, "rain": 0.65, "snow": 0.5}
DIM = {"clear": 1.0, "cloudy": 0.97, "rain": 0.72, "snow": 0.95}


def light_of(time: str, weather: str) -> Light:
    """Light of a time of day in a weather."""
    top, bottom = (np.array(colour, dtype=float) for colour in SKY[time])
    land = np.array(LAND_LIGHT[time])
    grey, dim = GREY[weather], DIM[weather]
    return Light(
        top=_greyed(top, grey) * dim,
        bottom=_greyed(bottom, grey) * dim,
        land=land * dim,
        subject=(0.6 + 0.4 * land) * (0.6 + 0.4 * dim),
        snow=0.75 if weather == "snow" else 0.0,
    )


def rgb(colour: np.ndarray) -> RGB:
    r, g, b = np.clip(np.rint(colour), 0, 255).astype(int).tolist()
    return r, g, b


def shade(colour: RGB, factor: float) -> RGB:
    """Darken (factor < 1) or lighten (factor > 1, towards white) a colour."""
    base = np.array(colour, dtype=float)
    return rgb(base * factor if factor <= 1 else base + (255 - base) * (factor - 1))


def _greyed(colour: np.ndarray, amount: float) -> np.ndarray:
    return colour * (1 - amount) + colour.mean() * amount
