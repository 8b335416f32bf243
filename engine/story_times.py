"""The start times of a plain-text story: 0:20, 1:05.5, 1:02:03, 90s, +8."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = r"\d+(?:\.\d*)?|\.\d+"
_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)(\d{1,2}(?:\.\d*)?)")
_SECONDS = re.compile(rf"({_NUMBER})s")
_LATER = re.compile(rf"\+({_NUMBER})s?")
# What was meant as a time, right or wrong: digits with a colon, a sign in front or an s behind.
_TIME_LIKE = re.compile(
    r"[+-]?[\d.,]*\d[\d.,]*(?::[\d.,]*)+s?|[+-][\d.,]*\d[\d.,]*s?|[\d.]*\d[\d.]*s"
)

ALLOWED = "write 0:20, 1:05.5, 1:02:03, 90s or +8 (if it is text, put \\ in front)"


@dataclass(frozen=True, slots=True)
class StartTime:
    """A start in seconds, from the beginning or after the prompt before."""

    seconds: float
    relative: bool = False


def looks_like_time(word: str) -> bool:
    """Whether the first word of a line was meant as a time, well formed or not."""
    return _TIME_LIKE.fullmatch(word) is not None


def read_time(word: str) -> StartTime:
    """The time that a word gives; `ValueError` with what is allowed for a word that gives none."""
    if word.startswith("-"):
        raise ValueError(f"{word} is negative: {ALLOWED}")
    if match := _LATER.fullmatch(word):
        return StartTime(float(match[1]), relative=True)
    if match := _SECONDS.fullmatch(word):
        return StartTime(float(match[1]))
    if match := _CLOCK.fullmatch(word):
        return StartTime(_clock_seconds(word, *match.groups()))
    raise ValueError(f"{word} is not a time: {ALLOWED}")


def _clock_seconds(word: str, hours: str | None, minutes: str, seconds: str) -> float:
    if float(seconds) >= 60 or (hours is not None and int(minutes) >= 60):
        raise ValueError(f"{word} is not a time, the parts after the first end at 59: {ALLOWED}")
    return round((int(hours or 0) * 60 + int(minutes)) * 60 + float(seconds), 3)
