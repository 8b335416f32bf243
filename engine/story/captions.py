"""Stories in caption formats: WebVTT, SubRip (SRT), YouTube's SBV and Advanced SubStation (ASS).

Parsing is as tolerant as that of players. The story's notes list what is ignored. Only the start
of a cue is used, not its end.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from itertools import groupby

from sana_stream._prompts import IMAGE_MARK
from sana_stream._text import safe_text
from sana_stream.errors import StoryError

from .cues import CaptionCue, story_of
from .story import Story

_STAMP = (
    r"(-?)\s?(?:(\d{1,9})\s?:\s?)?([0-5]?\d)\s?:\s?([0-5]?\d)"
    r"(?:\s?[.,]\s?(\d{1,9})|:(\d{3}))?"
)
_ARROW = r"\s*(?:-{1,3}\s?(?:>|&gt;)|[\u2013\u2014]\s?>|\u2192)\s*"
_TIMING = re.compile(rf"\s*{_STAMP}{_ARROW}{_STAMP}(?:\s.*|[^\W\d].*)?")
_TIMING_LIKE = re.compile(r"\s*-?\d[\d:.,; ]*(?:-{1,3}\s?(?:>|&gt;)|[\u2013\u2014]\s?>|\u2192)")
_SBV = re.compile(r"(-?)(?:(\d{1,9}):)?(\d{1,2}):(\d{2})\.(\d{1,3})(),(?:\d{1,9}:)?[\d:.]+\s*")
_NO_CUE = re.compile(r"(?:NOTE|STYLE|REGION|WEBVTT)(?:[ \t].*)?")
_NUMBER = re.compile(r"\s*\d{1,9}\s*")

_TAG = re.compile(rf"(?!{IMAGE_MARK})<(?:/?[A-Za-z][^<>]*|[\d:.]+|/)>")
_RUBY = re.compile(r"<rt>[^<>]*</rt>")  # pronunciation, shown above a word
# a vector drawing of SubStation; the first \p1 of the braces is as good as any other
_DRAWN = re.compile(r"\{(?>[^{}]*?\\p[1-9])[^{}]*\}[^{}]*")
_BRACES = re.compile(r"\{(?:\\|[yYfFsScCpP]:)[^{}]*\}")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][\da-fA-F]{1,6}|\w{1,32});")


def parse_captions(lines: list[str], name: str, *, vtt: bool = False) -> Story:
    """Parse WebVTT (`vtt`, or recognized by its header), SRT or SBV: one prompt a cue."""
    first = next((line for line in lines if line.strip()), "")
    return story_of(list(_cues(lines, name, vtt=vtt or _is_header(first))), name)


def looks_like_captions(lines: list[str]) -> bool:
    """Whether a text without a known suffix is WebVTT, SRT or SBV."""
    first = next((line for line in lines if line.strip()), "")
    if _is_header(first) or _SBV.fullmatch(first.strip()):
        return True
    return any(_TIMING.fullmatch(line) for line in lines[:20] if len(line) < 1000)


def _is_header(line: str) -> bool:
    return line.split(maxsplit=1)[:1] == ["WEBVTT"]


def _cues(lines: list[str], name: str, *, vtt: bool) -> Iterator[CaptionCue]:
    timings = list(_timings(lines, name))
    head = lines[: timings[0][0] if timings else len(lines)]
    numbered = _cut_identifier(head, numbered=True) or any(map(_NUMBER.fullmatch, head))
    _check_head(head, name, vtt=vtt)
    ends = [index for index, _ in timings[1:]] + [len(lines)] * bool(timings)
    for (index, match), end in zip(timings, ends, strict=True):
        body = lines[index + 1 : end]
        after = end < len(lines) and _cut_identifier(body, numbered=numbered)
        text, stray = _payload(body, vtt=vtt)
        yield CaptionCue(
            _seconds(match, 1), _seconds(match, 7), text, line=index + 1, stray=index + 1 + stray
        )
        numbered = after


def _timings(lines: list[str], name: str) -> Iterator[tuple[int, re.Match[str]]]:
    for index, line in enumerate(lines):
        if match := _TIMING.fullmatch(line) or _SBV.fullmatch(line):
            yield index, match
        elif _TIMING_LIKE.match(line):
            raise _no_times(name, index + 1, line)


def _no_times(name: str, number: int, text: str) -> StoryError:
    return StoryError(
        f"{name}, line {number}: expected the times of a cue, got {safe_text(text, 40)!r}: "
        "write 00:00:05.000 --> 00:00:10.000"
    )


def _cut_identifier(body: list[str], *, numbered: bool) -> bool:
    """Remove the next cue's identifier (name or number) from the end of a cue's lines.

    A number directly after text is an identifier without a blank line before it. A number that is
    the only line is an identifier if cues are numbered, and text otherwise.

    Returns whether the identifier was a number.
    """
    end = max((place for place, line in enumerate(body, 1) if line.strip()), default=0)
    if end < len(body):  # in double-spaced files blank lines surround the number
        spaced = numbered and end > 1 and not body[end - 2].strip()
        if not spaced or not _NUMBER.fullmatch(body[end - 1]):
            return False
        del body[end - 1 :]
        return True
    if not body:
        return False
    number = _NUMBER.fullmatch(body[-1]) is not None
    only_line = len(body) == 1 and not numbered
    after_blank = len(body) > 1 and not body[-2].strip()
    if (number and not only_line) or after_blank:
        body.pop()
    return number and not only_line


def _check_head(head: list[str], name: str, *, vtt: bool) -> None:
    """Check that only a header, notes and styles precede the first cue."""
    for paragraph in _paragraphs(head):
        number, text = paragraph[0]
        if all(_NUMBER.fullmatch(line) for _, line in paragraph):
            continue
        first = vtt and number == next(i for i, line in enumerate(head, 1) if line.strip())
        if not first and not (_NO_CUE.fullmatch(text)):
            raise _no_times(name, number, text)


def _payload(body: list[str], *, vtt: bool) -> tuple[str, int]:
    """Return the text of a cue, and the line of stray text that belongs to no cue (0 for none).

    In WebVTT a cue ends with a blank line; in SRT the text after it belongs to the cue.
    """
    paragraphs = list(_paragraphs(body))
    if not vtt:
        return _plain(" ".join(text for part in paragraphs for _, text in part)), 0
    # a line of spaces, which YouTube writes, does not end a cue
    shown = paragraphs and all(body[: paragraphs[0][0][0] - 1])
    text = " ".join(text for _, text in paragraphs[0]) if shown else ""
    rest = (part for part in paragraphs[1 if shown else 0 :] if not _NO_CUE.fullmatch(part[0][1]))
    stray = next(rest, None)
    return _plain_vtt(text), 0 if stray is None else stray[0][0]


def _paragraphs(lines: list[str]) -> Iterator[list[tuple[int, str]]]:
    numbered = enumerate(lines, start=1)
    for blank, group in groupby(numbered, key=lambda item: not item[1].strip()):
        if not blank:
            yield list(group)


def _seconds(match: re.Match[str], group: int) -> float:
    if group > len(match.groups()):  # SBV's end is not used
        return float("inf")
    sign, hours, minutes, seconds, *fractions = match.groups()[group - 1 : group + 5]
    whole = (int(hours or 0) * 60 + int(minutes)) * 60 + int(seconds)
    fraction = next((digits for digits in fractions if digits), "0")
    total = (whole * 1000 + int(fraction.ljust(3, "0")[:3])) / 1000
    return -total if sign else total


def _plain(payload: str) -> str:
    """Remove HTML tags, braces of SubStation and MicroDVD, and line breaks from SRT text."""
    text = re.sub(r"\\[Nh]|\[br\]", " ", _BRACES.sub("", payload))
    return _plain_vtt(text)


def _plain_vtt(payload: str) -> str:
    text = _ENTITY.sub(
        lambda entity: html.unescape(entity[0]), _TAG.sub("", _RUBY.sub("", payload))
    )
    return " ".join(text.split())


def parse_substation(lines: list[str], name: str) -> Story:
    """Parse SubStation's SSA or ASS: one prompt a dialogue line."""
    return story_of(list(_dialogues(lines, name)), name)


def _dialogues(lines: list[str], name: str) -> Iterator[CaptionCue]:
    fields = ["layer", "start", "end", "style", "name", "l", "r", "v", "effect", "text"]
    section = ""
    for number, line in enumerate(lines, 1):
        key, _, value = line.strip().partition(":")
        if line.strip().startswith("["):
            section = line.strip().lower()
        elif key.lower() == "format" and section in ("[events]", ""):
            fields = [field.strip().lower() for field in value.split(",")]
        elif key.lower() == "dialogue":
            values = dict(zip(fields, value.split(",", len(fields) - 1), strict=False))
            stamps = f"{values.get('start', '')} --> {values.get('end', '')}"
            if (match := _TIMING.fullmatch(stamps)) is None or "text" not in values:
                raise _no_times(name, number, line)
            text = re.sub(
                r"\\[Nnh]", " ", re.sub(r"\{[^{}]*\}", "", _DRAWN.sub("", values["text"]))
            )
            yield CaptionCue(_seconds(match, 1), _seconds(match, 7), " ".join(text.split()), number)
