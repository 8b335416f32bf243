"""Attributes of scenes, and random choice of scenes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

HEIGHT, WIDTH, FPS = 256, 448, 16
STAGE_HEIGHT, STAGE_WIDTH = 128, 224  # units of length in which scenes are drawn

TIMES = ("dawn", "day", "sunset", "night")
PLACES = ("sea", "hills", "mountains", "desert", "forest", "town")
WEATHERS = ("clear", "cloudy", "rain", "snow")
SUBJECTS = ("balloon", "boat", "train", "kite", "bird", "fox")
COLOURS = ("red", "yellow", "green", "blue", "purple", "white")
SIZES = ("far", "middle", "near")
SIDES = ("middle", "left", "right")  # where the subject begins

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


# What a caption leaves open has one answer, so that a caption determines its scene.
HOME = {
    "balloon": "hills",
    "boat": "sea",
    "train": "hills",
    "kite": "hills",
    "bird": "mountains",
    "fox": "forest",
}
INHABITANT = {
    "sea": "boat",
    "hills": "kite",
    "mountains": "bird",
    "desert": "balloon",
    "forest": "fox",
    "town": "train",
}
OWN_COLOUR = {
    "balloon": "red",
    "boat": "white",
    "train": "green",
    "kite": "yellow",
    "bird": "blue",
    "fox": "yellow",
}
SPARSE = 0.3  # in training


@dataclass(frozen=True, slots=True)
class Scene:
    """Attributes of one scene, as named in captions."""

    time: str
    place: str
    weather: str
    subject: str
    colour: str
    size: str = "middle"
    side: str = "middle"


def completed(labels: Mapping[str, str]) -> Scene:
    """Return the scene of some attributes; those that are missing follow from the given ones."""
    place, subject = labels.get("place"), labels.get("subject")
    if subject is None:
        subject = "balloon" if place is None else INHABITANT[place]
    defaults = {
        "time": "day",
        "place": HOME[subject],
        "weather": "clear",
        "subject": subject,
        "colour": OWN_COLOUR[subject],
    }
    return Scene(**(defaults | dict(labels)))


def draw_scene(rng: np.random.Generator, held_out: bool = False, sparse: float = 0.0) -> Scene:
    """Choose a random scene; with `held_out` a held-out pair of subject and colour.

    `sparse` is the share of scenes that few words name: some of their attributes follow from the
    others.
    """
    if sparse and rng.random() < sparse:
        scene = draw_scene(rng)
        named = {name: value for name, value in asdict(scene).items() if rng.random() < 0.6}
        scene = completed(named)
        if (scene.subject, scene.colour) not in HELD_OUT:
            return scene
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
        side=str(rng.choice(SIDES, p=(0.6, 0.2, 0.2))),
    )


def change_scene(scene: Scene, rng: np.random.Generator, sparse: float = 0.0) -> Scene:
    """Choose another scene that keeps about half of the attributes of the first one."""
    fresh = draw_scene(rng, sparse=sparse)
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
