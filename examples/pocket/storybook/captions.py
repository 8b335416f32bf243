"""Captions of scenes with varied words and order, optionally with unknown words in between."""

from __future__ import annotations

import string
from collections.abc import Mapping

import numpy as np

from .words import (
    CLOSINGS,
    COLOUR_WORDS,
    OPENINGS,
    PLACE_PREPOSITIONS,
    PLACE_WORDS,
    SIZE_WORDS,
    SUBJECT_WORDS,
    TIME_WORDS,
    VERBS,
    WEATHER_WORDS,
)
from .world import Scene


def caption(scene: Scene, rng: np.random.Generator, full: bool = False) -> str:
    """Write a caption of a scene; `full` names time, place, weather, subject and colour.

    Otherwise default attributes may be left out: daylight, a clear sky, sometimes the place.
    """
    thing = _thing(scene, rng)
    parts = [_pick(TIME_WORDS, scene.time, rng), _place(scene, rng), _weather(scene, rng)]
    if not full:
        spare = (
            scene.time == "day" and rng.random() < 0.4,
            rng.random() < 0.05,
            scene.weather == "clear" and rng.random() < 0.5,
        )
        parts = [part for part, drop in zip(parts, spare, strict=True) if not drop]
    if scene.size != "middle" and rng.random() < 0.8:
        parts.append(_pick(SIZE_WORDS, scene.size, rng))
    parts = [parts[i] for i in rng.permutation(len(parts))]
    text = _ORDERS[rng.choice(len(_ORDERS), p=_WEIGHTS)](
        thing, _pick(VERBS, scene.subject, rng), parts, rng
    )
    return _with_unknown_words(text, rng) if not full and rng.random() < 0.2 else text


def plain_caption(scene: Scene) -> str:
    """Write the simplest caption: the first word of each attribute, in a fixed order."""
    colour, noun = COLOUR_WORDS[scene.colour][0], SUBJECT_WORDS[scene.subject][0]
    parts = (
        f"a {colour} {noun} {VERBS[scene.subject][0]}",
        f"over the {PLACE_WORDS[scene.place][0]}",
        TIME_WORDS[scene.time][0],
        WEATHER_WORDS[scene.weather][0],
        SIZE_WORDS[scene.size][0],
    )
    return " ".join(" ".join(parts).split())


def _subject_first(thing: str, verb: str, parts: list[str], rng: np.random.Generator) -> str:
    opening, closing = str(rng.choice(OPENINGS)), str(rng.choice(CLOSINGS))
    comma = " , " if rng.random() < 0.4 else " "
    return " ".join(f"{opening} {thing} {verb} {comma.join(parts)} {closing}".split())


def _subject_last(thing: str, verb: str, parts: list[str], rng: np.random.Generator) -> str:
    opening = str(rng.choice((*OPENINGS[:4], "it is", "here ,")))
    link = str(rng.choice((" , ", " . ", " and ", " , and ", " . there is ")))
    return " ".join(f"{opening} {' , '.join(parts)}{link}{thing} {verb}".split())


def _subject_between(thing: str, verb: str, parts: list[str], rng: np.random.Generator) -> str:
    cut = int(rng.integers(len(parts) + 1))
    before, after = " , ".join(parts[:cut]), " , ".join(parts[cut:])
    text = f"{before} , {thing} {verb} {after}" if before else f"{thing} {verb} {after}"
    return " ".join(text.split())


def _list_of_words(thing: str, verb: str, parts: list[str], rng: np.random.Generator) -> str:
    words = [thing, *(_bare(part) for part in parts)]
    if rng.random() < 0.5:
        words = [words[i] for i in rng.permutation(len(words))]
    return " , ".join(words)


_ORDERS = (_subject_first, _subject_last, _subject_between, _list_of_words)
_WEIGHTS = (0.5, 0.2, 0.2, 0.1)


def _thing(scene: Scene, rng: np.random.Generator) -> str:
    colour, noun = _pick(COLOUR_WORDS, scene.colour, rng), _pick(SUBJECT_WORDS, scene.subject, rng)
    if rng.random() < 0.1:
        return f"the {noun} is {colour} and"
    return f"{rng.choice(('a', 'a', 'a', 'the'))} {colour} {noun}"


def _place(scene: Scene, rng: np.random.Generator) -> str:
    return f"{rng.choice(PLACE_PREPOSITIONS)} {_pick(PLACE_WORDS, scene.place, rng)}"


def _weather(scene: Scene, rng: np.random.Generator) -> str:
    return _pick(WEATHER_WORDS, scene.weather, rng)


def _bare(part: str) -> str:
    head, _, rest = part.partition(" ")
    return rest if rest and head in ("at", "in", "by", "over", "near", "past", "across") else part


def _pick(table: Mapping[str, tuple[str, ...]], key: str, rng: np.random.Generator) -> str:
    choices = table[key]
    return choices[rng.integers(len(choices))]


def _with_unknown_words(text: str, rng: np.random.Generator) -> str:
    words = text.split()
    for _ in range(int(rng.integers(1, 4))):
        letters = rng.choice(list(string.ascii_lowercase), int(rng.integers(4, 9)))
        words.insert(int(rng.integers(len(words) + 1)), "".join(letters))
    return " ".join(words)
