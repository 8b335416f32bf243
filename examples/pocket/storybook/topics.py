"""The vocabulary by topic, for writers of prompts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .words import (
    COLOUR_WORDS,
    EXTRA,
    PLACE_PREPOSITIONS,
    PLACE_WORDS,
    SIZE_WORDS,
    SUBJECT_WORDS,
    TIME_WORDS,
    VERBS,
    WEATHER_WORDS,
)

# Not at the beginning of a phrase: `at dawn` is listed as dawn.
_LEADING = frozenset(
    word
    for phrase in (EXTRA[0], *PLACE_PREPOSITIONS, "under up as without among during")
    for word in phrase.split()
)


def topics() -> dict[str, list[str]]:
    """List phrases that the model was trained on, by topic; each phrase once."""
    tables: dict[str, Mapping[str, Iterable[str]]] = {
        "subjects": SUBJECT_WORDS,
        "what they do": VERBS,
        "colours": COLOUR_WORDS,
        "places": PLACE_WORDS,
        "weather": WEATHER_WORDS,
        "time of day": TIME_WORDS,
        "distance": SIZE_WORDS,
    }
    return {topic: _phrases(table.values()) for topic, table in tables.items()}


def _phrases(choices: Iterable[Iterable[str]]) -> list[str]:
    phrases = (_without_leading(phrase) for each in choices for phrase in each)
    return [phrase for phrase in dict.fromkeys(phrases) if phrase]


def _without_leading(phrase: str) -> str:
    words = phrase.split()
    while words and words[0] in _LEADING:
        del words[0]
    return " ".join(words)
