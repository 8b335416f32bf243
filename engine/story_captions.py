"""Stories written as captions: WebVTT and SubRip (SRT). The start of a cue counts, not its end."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from itertools import groupby

from .story import IMAGE_MARK, Cue, Story, StoryError

_STAMP = r"(?:(\d{2,}):)?([0-5]?\d):([0-5]?\d)[.,](\d{1,3})"
_TIMING = re.compile(rf"\s*{_STAMP}\s+-->\s+{_STAMP}(?:\s.*)?")
_TAG = re.compile(rf"(?!{IMAGE_MARK})<[^<>]*>|\{{\\[^{{}}]*\}}")
_NO_CUE = re.compile(r"(?:NOTE|STYLE|REGION|WEBVTT)(?:[ \t].*)?")

_Paragraph = list[tuple[int, str]]  # line numbers with their text


def parse_captions(lines: list[str], name: str) -> Story:
    """The story in WebVTT or SRT: one prompt a cue.

    Notes, styles and regions are passed over, tags taken out. Cues that follow one another with
    the same text are one prompt.
    """
    cues = [_cue(paragraph, name) for paragraph in _paragraphs(lines) if not _skipped(paragraph)]
    return Story(tuple(next(same) for _, same in groupby(cues, key=lambda cue: cue.prompt)), name)


def looks_like_captions(lines: list[str]) -> bool:
    """Whether a text without a telling name is WebVTT or SRT."""
    first = next((line for line in lines if line.strip()), "")
    return first.split(maxsplit=1)[:1] == ["WEBVTT"] or any(map(_TIMING.fullmatch, lines[:20]))


def _paragraphs(lines: list[str]) -> Iterator[_Paragraph]:
    numbered = enumerate(lines, start=1)
    for blank, group in groupby(numbered, key=lambda item: not item[1].strip()):
        if not blank:
            yield list(group)


def _skipped(paragraph: _Paragraph) -> bool:
    return _NO_CUE.fullmatch(paragraph[0][1]) is not None and not any(
        _TIMING.fullmatch(text) for _, text in paragraph
    )


def _cue(paragraph: _Paragraph, name: str) -> Cue:
    # A cue may have a name or a number on a line of its own above its times.
    for index, (number, text) in enumerate(paragraph[:2]):
        if match := _TIMING.fullmatch(text):
            payload = " ".join(line for _, line in paragraph[index + 1 :])
            return Cue(_seconds(match), _plain(payload), line=number)
    number, text = paragraph[0]
    raise StoryError(
        f"{name}, line {number}: expected the times of a cue, got {text.strip()[:40]!r}: "
        "write 00:00:05.000 --> 00:00:10.000"
    )


def _seconds(match: re.Match[str]) -> float:
    hours, minutes, seconds, fraction = match.groups()[:4]
    whole = (int(hours or 0) * 60 + int(minutes)) * 60 + int(seconds)
    return (whole * 1000 + int(fraction.ljust(3, "0"))) / 1000


def _plain(payload: str) -> str:
    return " ".join(html.unescape(_TAG.sub("", payload)).split())
