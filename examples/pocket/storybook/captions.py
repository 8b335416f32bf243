"""Captions of scenes with varied words and order, optionally with unknown words in between."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from .words import (
    CLOSINGS,
    COLOUR_WORDS,
    OPENINGS,
    PLACE_PREPOSITIONS,
    PLACE_WORDS,
    SIDE_WORDS,
    SIZE_WORDS,
    SUBJECT_WORDS,
    TIME_WORDS,
    VERBS,
    WEATHER_WORDS,
)
from .world import ATTRIBUTES, Scene, completed


def caption(scene: Scene, rng: np.random.Generator, full: bool = False) -> str:
    """Write a caption of a scene; `full` names time, place, weather, subject and colour.

    Otherwise attributes may be left out, as long as the scene follows from the others, and words
    that mean nothing may stand in between.
    """
    named = set(ATTRIBUTES) if full else _named(scene, rng)
    parts = [
        write(scene, rng)
        for name, write in (("time", _time), ("place", _place), ("weather", _weather))
        if name in named
    ]
    if scene.size != "middle":
        parts.append(_pick(SIZE_WORDS, scene.size, rng))
    if scene.side != "middle":
        parts.append(_pick(SIDE_WORDS, scene.side, rng))
    parts = [parts[i] for i in rng.permutation(len(parts))]
    verb = _pick(VERBS, scene.subject, rng) if "subject" in named and rng.random() < 0.9 else ""
    order = _ORDERS[rng.choice(len(_ORDERS), p=_WEIGHTS)]
    text = order(_thing(scene, rng, named), verb, parts, rng)
    return _with_unknown_words(text, rng) if not full and rng.random() < 0.2 else text


def _named(scene: Scene, rng: np.random.Generator) -> set[str]:
    """Choose the attributes to name: most of them, and enough for the scene to follow."""
    labels = asdict(scene)
    for name in rng.permutation(list(ATTRIBUTES)):
        rest = {key: value for key, value in labels.items() if key != name}
        if completed(rest) == scene and rng.random() < 0.6:
            labels = rest
    return set(labels)


def plain_caption(scene: Scene) -> str:
    """Write the simplest caption: the first word of each attribute, in a fixed order."""
    colour, noun = COLOUR_WORDS[scene.colour][0], SUBJECT_WORDS[scene.subject][0]
    parts = (
        f"a {colour} {noun} {VERBS[scene.subject][0]}",
        f"over the {PLACE_WORDS[scene.place][0]}",
        TIME_WORDS[scene.time][0],
        WEATHER_WORDS[scene.weather][0],
        SIZE_WORDS[scene.size][0],
        SIDE_WORDS[scene.side][0],
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
    words = [part for part in (thing, *(_bare(part) for part in parts)) if part]
    if rng.random() < 0.5:
        words = [words[i] for i in rng.permutation(len(words))]
    return " , ".join(words)


_ORDERS = (_subject_first, _subject_last, _subject_between, _list_of_words)
_WEIGHTS = (0.5, 0.2, 0.2, 0.1)


def _thing(scene: Scene, rng: np.random.Generator, named: set[str]) -> str:
    """Write the subject with its colour; either may be missing, or an unknown word for it."""
    colour = _pick(COLOUR_WORDS, scene.colour, rng) if "colour" in named else ""
    if "subject" in named:
        noun = _pick(SUBJECT_WORDS, scene.subject, rng)
    else:
        noun = _unknown_word(rng) if rng.random() < 0.5 else ""
    if colour and noun and rng.random() < 0.1:
        return f"the {noun} is {colour} and"
    words = f"{colour} {noun}".split()
    return " ".join((str(rng.choice(("a", "a", "a", "the", ""))), *words)) if words else ""


def _time(scene: Scene, rng: np.random.Generator) -> str:
    return _pick(TIME_WORDS, scene.time, rng)


def _place(scene: Scene, rng: np.random.Generator) -> str:
    return f"{rng.choice(PLACE_PREPOSITIONS)} {_pick(PLACE_WORDS, scene.place, rng)}"


def _weather(scene: Scene, rng: np.random.Generator) -> str:
    return _pick(WEATHER_WORDS, scene.weather, rng)


def _bare(part: str) -> str:
    head, _, rest = part.partition(" ")
    return (
        rest
        if rest and head in ("at", "in", "by", "over", "near", "past", "across", "under")
        else part
    )


def _pick(table: Mapping[str, tuple[str, ...]], key: str, rng: np.random.Generator) -> str:
    choices = table[key]
    return choices[rng.integers(len(choices))]


def _with_unknown_words(text: str, rng: np.random.Generator) -> str:
    words = text.split()
    for _ in range(int(rng.integers(1, 4))):
        words.insert(int(rng.integers(len(words) + 1)), _unknown_word(rng))
    return " ".join(words)


def _unknown_word(rng: np.random.Generator) -> str:
    return "".join(rng.choice(list(string.ascii_lowercase), int(rng.integers(4, 9))))
