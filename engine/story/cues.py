"""From the cues of captions to a story: put in order, joined, and what was dropped told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby

from sana_stream.errors import StoryError

from .story import IMAGE_MARK, Cue, Story, format_time

_NAMED = 3  # places that a note names


@dataclass(frozen=True, slots=True)
class CaptionCue:
    """One cue as it stands in a file: times in seconds, its text, its line."""

    start: float
    end: float
    text: str
    line: int
    lost: int = -1  # the line of a text behind it that belongs to no cue; its own line for none


def story_of(cues: list[CaptionCue], name: str) -> Story:
    """The story of a file's cues.

    Cues without text, and those that end before 0:00, are left out; the rest is sorted; cues that
    start together are one prompt, and so are neighbours with the same text; the first one holds
    from 0:00. Raises `StoryError` where nothing is left.
    """
    notes: list[str] = []
    lost = [cue.lost for cue in cues if cue.lost > cue.line]
    _note(notes, name, lost, "text that belongs to no cue is left out")
    empty = [cue.line for cue in cues if not cue.text]
    _note(notes, name, empty, "cues without text are left out")
    if empty and len(empty) == len(cues):
        raise StoryError(f"{name}, line {empty[0]}: an empty prompt: write what is to be seen")
    cues = [cue for cue in cues if cue.text]
    gone = [cue.line for cue in cues if cue.start < 0 and cue.end <= 0]
    _note(notes, name, gone, "cues that end before 0:00 are left out")
    cues = [cue for cue in cues if cue.start >= 0 or cue.end > 0]
    cues = [replace(cue, start=max(0.0, cue.start)) for cue in cues]
    ordered = sorted(cues, key=lambda cue: cue.start)
    if ordered != cues:
        notes.append(f"{name}: its cues are not in the order of their times, and were sorted")
    ordered = _from_first_hour(ordered, name, notes)
    joined = list(_joined(ordered, name, notes))
    merged = [next(same) for _, same in groupby(joined, key=lambda cue: cue.prompt)]
    if merged and merged[0].start_seconds:
        first = format_time(merged[0].start_seconds)
        notes.append(f"{name}: its first cue starts at {first} and holds from the beginning")
        merged[0] = replace(merged[0], start_seconds=0.0)
    return Story(tuple(merged), name, tuple(notes))


def _from_first_hour(cues: list[CaptionCue], name: str, notes: list[str]) -> list[CaptionCue]:
    """The cues of a timeline that begins at 1:00:00, as editing programs have it, from 0:00."""
    begin = cues[0].start // 3600 * 3600 if cues else 0.0
    if not begin:
        return cues
    notes.append(
        f"{name}: its first cue starts after {format_time(begin)}, which is taken for 0:00"
    )
    return [replace(cue, start=round(cue.start - begin, 3)) for cue in cues]


def _joined(cues: Iterable[CaptionCue], name: str, notes: list[str]) -> Iterable[Cue]:
    lines = []
    for start, group in groupby(cues, key=lambda cue: cue.start):
        first, *others = group
        # a picture's path reaches to the end of a prompt
        texts = dict.fromkeys(cue.text for cue in (first, *others))
        ordered = sorted(texts, key=lambda text: IMAGE_MARK in text)
        if sum(IMAGE_MARK in text for text in ordered) > 1:
            raise StoryError(
                f"{name}, line {first.line}: cues that start together name two pictures: keep one"
            )
        lines += [cue.line for cue in others]
        yield Cue(start, " ".join(ordered), line=first.line)
    _note(notes, name, lines, "cues that start together are joined into one prompt")


def _note(notes: list[str], name: str, lines: list[int], what: str) -> None:
    if lines:
        more = f" and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
        places = ", ".join(map(str, lines[:_NAMED]))
        notes.append(f"{name}, line{'s' * (len(lines) > 1)} {places}{more}: {what}")
