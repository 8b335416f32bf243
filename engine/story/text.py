"""The plain-text story format: one prompt a line, optionally after its start time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice, pairwise

from sana_stream._prompts import escape_blend
from sana_stream._text import safe_text
from sana_stream.errors import StoryError

from .markup import (
    are_listed,
    are_quoted,
    without_bold,
    without_bullet,
    without_quotes,
    without_settings,
)
from .story import MAX_PROMPTS, Cue, Story, read_blend
from .times import StartTime, has_clock, leading_number, split_end, split_time, starts_at_zero

_NEGATIVE = re.compile(r"negative[ _]prompts?\s*:\s*(.*)", re.IGNORECASE)
_SETTINGS = re.compile(r"Steps:\s*\d+,\s*Sampler:.*")  # of the web UIs, after an image's prompt
_IGNORED = re.compile(rf"{_SETTINGS.pattern}|[-*_=\u2014]{{3,}}")  # and separator lines
_LASTS = re.compile(r"[\[(]\s*\d{1,6}(?:\.\d{1,6})?\s?s(?:ec(?:ond)?s?)?\s*[\])]$", re.IGNORECASE)
_MAX_LINES = 3  # line numbers in a note


@dataclass(frozen=True, slots=True)
class _Entry:
    """A prompt, joined with its continuation lines."""

    line: int
    start: StartTime | None
    prompt: str
    literal: bool = False  # marked as text by a backslash
    negative: str = ""


def parse_text(lines: list[str], name: str) -> Story:
    """Parse a story in plain text: one prompt a line.

    An indented line continues the prompt before it. Blank lines and lines that begin with `#` are
    ignored. A line may begin with its start: `0:20`, `1:05.5`, `1:02:03`, `90s`, `+8` (seconds
    after the previous start), `[0:20]`, `(0:20-0:30)`, `0:20 - 0:30`, or a frame: `48: `. Of a
    range only the start is used. A time may be on a line of its own. `~2` before the prompt blends
    it in over two blocks. `\\` at the beginning makes the rest literal text.
    """
    entries = list(islice(_entries(_dedented(lines), name), MAX_PROMPTS + 1))
    notes: list[str] = []
    entries = _without_introduction(entries, name, notes)
    entries = _without_marks(_with_times_at_ends(entries, name), name, notes)
    _check_times_elsewhere(entries, name)
    cues = tuple(read_blend(cue, name) for cue in _timed(entries))
    return Story(cues, name, (*notes, *_notes(entries, lines, name)))


def _without_introduction(entries: list[_Entry], name: str, notes: list[str]) -> list[_Entry]:
    """Drop text before the prompt at 0:00 or before a list."""
    if len(entries) < 2 or entries[0].start is not None or entries[0].literal:
        return entries
    first, *others = entries
    begin = next((entry for entry in others if entry.start is not None), None)
    if begin is not None and begin.start in (StartTime(0.0), StartTime(0.0, frame=0)):
        kept = entries[entries.index(begin) :]
    elif first.prompt.endswith(":") and are_listed([entry.prompt for entry in others]):
        kept = others
    else:
        return entries
    notes.append(f"{name}, line {first.line}: text before the first prompt is ignored")
    return kept


def _without_marks(entries: list[_Entry], name: str, notes: list[str]) -> list[_Entry]:
    """Remove bullets, numbers, bold and quotation marks of a list from the entries."""
    plain = [entry for entry in entries if not entry.literal]
    prompts = [entry.prompt for entry in plain]
    if all(entry.start is None for entry in plain) and are_listed(prompts):
        prompts = [without_bullet(prompt) for prompt in prompts]
    prompts = [without_bold(prompt) for prompt in prompts]
    if are_quoted(prompts):
        prompts = [without_quotes(prompt) for prompt in prompts]
    entries = _changed(entries, prompts, name, notes, "bullets, numbers and marks of a list")
    plain = [entry.prompt for entry in entries if not entry.literal]
    bare = [without_settings(prompt) for prompt in plain]
    return _changed(entries, bare, name, notes, "weights and settings of other programs")


def _changed(
    entries: list[_Entry], prompts: list[str], name: str, notes: list[str], removed: str
) -> list[_Entry]:
    """Replace the prompts of entries that are not literal, and note what was removed."""
    others = iter(prompts)
    found = [e if e.literal else replace(e, prompt=next(others)) for e in entries]
    lines = [a.line for a, b in zip(entries, found, strict=True) if a.prompt != b.prompt]
    if lines:
        notes.append(f"{name}, line {lines[0]}: {removed} are ignored")
    return found


def _check_times_elsewhere(entries: list[_Entry], name: str) -> None:
    """Refuse prompts without times if their lines show times in an unknown form.

    Raises:
        StoryError: names the first of them, and the known form.
    """
    plain = [entry for entry in entries if not entry.literal]
    if len(plain) < 2 or any(entry.start is not None for entry in plain):
        return
    clocks = [entry for entry in plain if has_clock(entry.prompt)]
    found = {e.line: n for e in plain if (n := leading_number(e.prompt)) is not None}
    numbers = list(found.values())
    if 2 <= len(clocks) >= len(plain) / 2 and starts_at_zero(clocks[0].prompt):
        place = clocks[0]
    elif 2 <= len(numbers) >= len(plain) / 2 and not numbers[0] and _ascend(numbers):
        place = next(entry for entry in plain if entry.line in found)
    elif all(_LASTS.search(entry.prompt) for entry in plain):
        place = plain[0]
    else:
        return
    raise StoryError(
        f"{name}, line {place.line}: {safe_text(place.prompt, 40)!r} has a time in a form"
        " that is not known: start each line with it, as 0:20 (if it is text, put \\ in front)"
    )


def _ascend(numbers: list[float]) -> bool:
    return all(before < after for before, after in pairwise(numbers))


def _with_times_at_ends(entries: list[_Entry], name: str) -> list[_Entry]:
    """Move times from the ends of prompts to their starts, if all prompts have them there.

    Raises:
        StoryError: all prompts have times elsewhere.
    """
    plain = all(entry.start is None and not entry.literal for entry in entries)
    if len(entries) < 2 or not plain or not all(has_clock(entry.prompt) for entry in entries):
        return entries
    ends = [split_end(entry.prompt) for entry in entries]
    found = [
        replace(entry, start=end[0], prompt=end[1])
        for entry, end in zip(entries, ends, strict=True)
        if end is not None
    ]
    if len(found) < len(entries):
        raise StoryError(
            f"{name}, line {entries[0].line}: every prompt has a time, but not at the beginning of "
            "its line: write it there, as 0:20 (if it is text, put \\ in front of the line)"
        )
    return found


def _dedented(lines: list[str]) -> list[str]:
    """Remove the indentation that all lines share."""
    if any(line[0] not in " \t" for line in lines if line.strip()):
        return lines
    written = [line for line in lines if line.strip()]
    widths = [len(line) - len(line.lstrip()) for line in written]
    common = min(widths)
    return [line[common:] for line in lines] if widths[0] == common else lines


def _entries(lines: list[str], name: str) -> Iterator[_Entry]:
    current: _Entry | None = None
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#") or _IGNORED.fullmatch(text):
            continue
        if current is not None and (match := _NEGATIVE.fullmatch(text)):
            current = replace(current, negative=f"{current.negative} {match[1]}".strip())
        elif not line[0].isspace():
            entry = _first_line(number, text, name)
            if current is None or entry.start is not None or current.prompt or not current.start:
                if current is not None:
                    yield current
                current = entry
            else:  # its time is on a line of its own
                current = replace(current, prompt=entry.prompt, literal=True)
        elif current is None:
            raise StoryError(
                f"{name}, line {number}: an indented line continues the prompt before it, "
                "and there is none: remove the spaces in front"
            )
        else:
            _check_no_time(number, text, name)
            more = _literal(text) if current.prompt else _first_words(text)
            joined = f"{current.prompt} {more}".strip()
            current = replace(current, prompt=joined)
    if current is not None:
        yield current


def _first_line(number: int, text: str, name: str) -> _Entry:
    try:
        start, rest = split_time(text)
    except ValueError as error:
        raise StoryError(f"{name}, line {number}: {error}") from None
    return _Entry(number, start, _first_words(rest), rest.startswith("\\"))


def _check_no_time(number: int, text: str, name: str) -> None:
    """Refuse an indented line that begins with a time: it was probably meant as a prompt."""
    try:
        start, _ = split_time(text)
    except ValueError:
        start = None
    head = text[:40]
    if start is not None and ":" in head and not start.relative:
        raise StoryError(
            f"{name}, line {number}: an indented line continues the prompt before it, and this one "
            "begins with a time: remove the spaces in front (if it is text, put \\ before it)"
        )


def _literal(text: str) -> str:
    return text.removeprefix("\\")


def _first_words(text: str) -> str:
    """The beginning of a prompt; `read_blend` finds no blend in a literal one."""
    return escape_blend(_literal(text)) if text.startswith("\\") else text


def _timed(entries: list[_Entry]) -> Iterator[Cue]:
    previous = 0.0
    for entry in entries:
        start, seconds, frame = entry.start, None, None
        if start is not None and start.frame is not None:
            frame = start.frame
        elif start is not None:
            seconds = round(start.seconds + (previous if start.relative else 0.0), 3)
            previous = seconds
        yield Cue(seconds, entry.prompt, frame, entry.line, negative=entry.negative or None)


def _notes(entries: list[_Entry], lines: list[str], name: str) -> Iterator[str]:
    if any(entry.start is not None and entry.start.frame is not None for entry in entries):
        yield f"{name}: numbers with a colon after them are read as frames"
    settings = [n for n, line in enumerate(lines, 1) if _SETTINGS.fullmatch(line.strip())]
    if settings:
        yield f"{name}, line {settings[0]}: settings of another program are ignored"
    inside = [
        entry.line
        for entry in entries
        if entry.start is None and not entry.literal and has_clock(entry.prompt)
    ]
    if inside:
        places = ", ".join(map(str, inside[:_MAX_LINES])) + ", ..." * (len(inside) > _MAX_LINES)
        yield (
            f"{name}, line {places}: a time inside a prompt is read as text: write a start at the"
            " beginning of its line"
        )
