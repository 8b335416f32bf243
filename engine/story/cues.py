"""Conversion of caption cues to a story: sorting, joining, and notes about what is ignored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby

from sana_stream._prompts import IMAGE_MARK
from sana_stream.errors import StoryError

from .story import Cue, Story, format_time, read_blend

_MAX_LINES = 3  # line numbers in a note


@dataclass(frozen=True, slots=True)
class CaptionCue:
    """One cue of a caption file: times in seconds, its text, its line."""

    start: float
    end: float
    text: str
    line: int
    stray: int = -1  # line of text after the cue that belongs to none; its own line for none


def story_of(cues: list[CaptionCue], name: str) -> Story:
    """Convert a file's cues to a story.

    Cues without text, and those that end before 0:00, are dropped; the rest is sorted. Cues that
    start together become one prompt, and so do neighbours with the same text. The first cue starts
    at 0:00.

    Raises:
        StoryError: no cue is left.
    """
    notes: list[str] = []
    stray = [cue.stray for cue in cues if cue.stray > cue.line]
    _note(notes, name, stray, "text that belongs to no cue is ignored")
    empty = [cue.line for cue in cues if not cue.text]
    _note(notes, name, empty, "cues without text are ignored")
    if empty and len(empty) == len(cues):
        raise StoryError(f"{name}, line {empty[0]}: an empty prompt: describe the scene")
    cues = [cue for cue in cues if cue.text]
    early = [cue.line for cue in cues if cue.start < 0 and cue.end <= 0]
    _note(notes, name, early, "cues that end before 0:00 are ignored")
    cues = [cue for cue in cues if cue.start >= 0 or cue.end > 0]
    cues = [replace(cue, start=max(0.0, cue.start)) for cue in cues]
    ordered = sorted(cues, key=lambda cue: cue.start)
    if ordered != cues:
        notes.append(f"{name}: its cues are not in the order of their times, and are sorted")
    ordered = _from_first_hour(ordered, name, notes)
    joined = list(_joined(ordered, name, notes))
    merged = [next(same) for _, same in groupby(joined, key=lambda cue: cue.prompt)]
    if merged and merged[0].start_seconds:
        first = format_time(merged[0].start_seconds)
        notes.append(f"{name}: its first cue starts at {first} and is moved to 0:00")
        merged[0] = replace(merged[0], start_seconds=0.0)
    return Story(tuple(read_blend(cue, name) for cue in merged), name, tuple(notes))


def _from_first_hour(cues: list[CaptionCue], name: str, notes: list[str]) -> list[CaptionCue]:
    """Shift a timeline that begins at 1:00:00, as editing programs write it, to 0:00."""
    begin = cues[0].start // 3600 * 3600 if cues else 0.0
    if not begin:
        return cues
    notes.append(f"{name}: its first cue starts after {format_time(begin)}, which is used as 0:00")
    return [replace(cue, start=round(cue.start - begin, 3)) for cue in cues]


def _joined(cues: Iterable[CaptionCue], name: str, notes: list[str]) -> Iterable[Cue]:
    lines = []
    for start, group in groupby(cues, key=lambda cue: cue.start):
        first, *others = group
        # an image's path extends to the end of a prompt
        texts = dict.fromkeys(cue.text for cue in (first, *others))
        ordered = sorted(texts, key=lambda text: IMAGE_MARK in text)
        if sum(IMAGE_MARK in text for text in ordered) > 1:
            raise StoryError(
                f"{name}, line {first.line}: cues that start together name two images: keep one"
            )
        lines += [cue.line for cue in others]
        yield Cue(start, " ".join(ordered), line=first.line)
    _note(notes, name, lines, "cues that start together are joined into one prompt")


def _note(notes: list[str], name: str, lines: list[int], message: str) -> None:
    if lines:
        more = f" and {len(lines) - _MAX_LINES} more" if len(lines) > _MAX_LINES else ""
        places = ", ".join(map(str, lines[:_MAX_LINES]))
        notes.append(f"{name}, line{'s' * (len(lines) > 1)} {places}{more}: {message}")
