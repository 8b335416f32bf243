"""The world in words: what a scene may hold, and how scenes are drawn by lot."""

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

# Never shown together in training: the evaluation asks for them.
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
    """What one picture shows: the labels that captions speak of."""

    time: str
    place: str
    weather: str
    subject: str
    colour: str
    size: str = "middle"


def draw_scene(rng: np.random.Generator, held_out: bool = False) -> Scene:
    """A scene by lot; with `held_out` its subject and colour are a pair kept out of training."""
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
    """Another scene that keeps about half of what the first one shows."""
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
