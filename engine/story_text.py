"""The plain-text story: one prompt a line, with or without its start time in front."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .story import Cue, Story, StoryError
from .story_times import StartTime, looks_like_time, read_time


@dataclass(frozen=True, slots=True)
class _Entry:
    """A prompt with its continuation lines joined."""

    line: int
    start: StartTime | None
    prompt: str


def parse_text(lines: list[str], name: str) -> Story:
    """The story in plain text.

    One prompt a line; an indented line continues the one before; blank lines and lines that begin
    with `#` do not count. A line may begin with its start: `0:20`, `1:05.5`, `1:02:03`, `90s`,
    or `+8`, seconds after the start before. `\\` in front makes the rest literal text.
    """
    return Story(tuple(_timed(_entries(lines, name))), name)


def _entries(lines: list[str], name: str) -> Iterator[_Entry]:
    current: _Entry | None = None
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if not line[0].isspace():
            if current is not None:
                yield current
            current = _first_line(number, text, name)
        elif current is None:
            raise StoryError(
                f"{name}, line {number}: an indented line continues the prompt before it, "
                "and there is none: remove the spaces in front"
            )
        else:
            joined = f"{current.prompt} {_literal(text)}".strip()
            current = _Entry(current.line, current.start, joined)
    if current is not None:
        yield current


def _first_line(number: int, text: str, name: str) -> _Entry:
    word = text.split(maxsplit=1)[0]
    if not looks_like_time(word):
        return _Entry(number, None, _literal(text))
    try:
        start = read_time(word)
    except ValueError as error:
        raise StoryError(f"{name}, line {number}: {error}") from None
    return _Entry(number, start, _literal(text.removeprefix(word).lstrip()))


def _literal(text: str) -> str:
    return text.removeprefix("\\")


def _timed(entries: Iterator[_Entry]) -> Iterator[Cue]:
    previous = 0.0
    for entry in entries:
        seconds = None
        if entry.start is not None:
            seconds = round(entry.start.seconds + (previous if entry.start.relative else 0.0), 3)
            previous = seconds
        yield Cue(seconds, entry.prompt, line=entry.line)
