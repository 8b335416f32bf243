"""Attributes of scenes, and random choice of scenes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

HEIGHT, WIDTH, FPS = 128, 224, 16

TIMES = ("dawn", "day", "sunset", "night")
PLACES = ("sea", "hills", "mountains", "desert", "forest", "town")
WEATHERS = ("clear", "cloudy", "rain", "snow")
SUBJECTS = ("balloon", "boat", "train", "kite", "bird", "fox")
COLOURS = ("red", "yellow", "green", "blue", "purple", "white")
SIZES = ("far", "middle", "near")

ATTRIBUTES = {
    "time": TIMES,
    "place": PLACES,
    "weather": WEATHERS,
    "subject": SUBJECTS,
    "colour": COLOURS,
}

# Pairs held out from training, for the evaluation.
HELD_OUT = frozenset(
    {
        ("balloon", "green"),
        ("boat", "purple"),
        ("train", "white"),
        ("kite", "blue"),
        ("bird", "yellow"),
        ("fox", "red"),
    }
)


@dataclass(frozen=True, slots=True)
class Scene:
    """Attributes of one scene, as named in captions."""

    time: str
    place: str
    weather: str
    subject: str
    colour: str
    size: str = "middle"


def draw_scene(rng: np.random.Generator, held_out: bool = False) -> Scene:
    """Choose a random scene; with `held_out` a held-out pair of subject and colour."""
    if held_out:
        pairs = sorted(HELD_OUT)
        subject, colour = pairs[rng.integers(len(pairs))]
    else:
        subject, colour = _known_pair(rng)
    return Scene(
        time=str(rng.choice(TIMES)),
        place=str(rng.choice(PLACES)),
        weather=str(rng.choice(WEATHERS, p=(0.4, 0.2, 0.2, 0.2))),
        subject=subject,
        colour=colour,
        size=str(rng.choice(SIZES, p=(0.2, 0.6, 0.2))),
    )


def change_scene(scene: Scene, rng: np.random.Generator) -> Scene:
    """Choose another scene that keeps about half of the attributes of the first one."""
    fresh = draw_scene(rng)
    kept = {
        name: getattr(scene, name) for name in ("time", "place", "weather") if rng.random() < 0.5
    }
    if rng.random() < 0.5:
        kept |= {"subject": scene.subject, "colour": scene.colour, "size": scene.size}
    return replace(fresh, **kept)


def _known_pair(rng: np.random.Generator) -> tuple[str, str]:
    while True:
        pair = (str(rng.choice(SUBJECTS)), str(rng.choice(COLOURS)))
        if pair not in HELD_OUT:
            return pair
