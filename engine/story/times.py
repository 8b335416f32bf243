"""Start times in a plain-text story: 0:20, 1:05.5, 1:02:03, 90s, +8, [0:20], 0:20-0:30, 48:."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sana_stream._text import safe_text

_NUMBER = r"\d+(?:\.\d*)?|\.\d+"
_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)(\d{1,2}(?:\.\d*|,\d{3})?)")
_SECONDS = re.compile(rf"({_NUMBER})s")
_UNITS = re.compile(r"(?:(\d{1,9})h)?(?:(\d{1,9})m)?(\d{1,9}(?:\.\d{0,9})?)s")
_LATER = re.compile(rf"\+({_NUMBER})s?")
# A probable time, well formed or not: digits with a colon, a sign before or an s after them.
_TIME_LIKE = re.compile(
    r"[+-]?[\d.,]*\d[\d.,]*(?::[\d.,]*)+s?|[+-][\d.,]*\d[\d.,]*s?|[\d.]*\d[\d.]*s"
    r"|(?:\d{1,9}h)?(?:\d{1,9}m)\d{1,9}(?:\.\d{0,9})?s"
)
_LONG = 500  # characters; longer words are matched by a simpler pattern
_LONG_TIME = re.compile(r"[+-]?[\d.,:]+s?")

_POINT = (
    r"(?:\d{1,9}:){1,2}\d{1,2}(?:\.\d{1,9}|,\d{3})?"
    r"|(?:\d{1,9}h)?(?:\d{1,9}m)?\d{1,9}(?:\.\d{1,9})?s"
)
_TO = r"\s*(?:-{1,3}>|[-\u2013\u2014\u2212~\u2192|]|\bto\b|\buntil\b)\s*"
_BOLD = r"(?:\*\*|__)?"
# [0:05] text, (0:05-0:10) text, **[0:05]:** text
_BRACKETED = re.compile(
    rf"{_BOLD}(?:\[\s*|\(\s*)({_POINT})(?:{_TO}(?:{_POINT}))?\s*[\])]:?{_BOLD}(?!\w)(.*)"
)
_RANGE = re.compile(rf"{_BOLD}({_POINT}){_TO}(?:{_POINT})(?![\w.,]*\w):?{_BOLD}(.*)")
_GLUED = re.compile(
    r"((?:\d{1,9}:){1,2}\d{1,2}(?:\.\d{1,9})?)\s?(?:[-\u2013\u2014|\u2192;,=)]|:(?!\d))\s?(?![\d:])(.*)"
)
_UNIT = r"s(?:ecs?|econds?)?"
_PLAIN = r"\d{1,9}(?:\.\d{1,9})?"
# 0-5s: text, (5 - 10 seconds) text, [5 sec] text
_SPAN = re.compile(
    rf"{_BOLD}[\[(]?({_PLAIN})\s?(?:{_UNIT})?{_TO}{_PLAIN}\s?{_UNIT}[\])]?:?{_BOLD}(?!\w)(.*)"
)
_COUNT = re.compile(
    rf"{_BOLD}(?=[\[(]|{_PLAIN}\s?{_UNIT}:)[\[(]?({_PLAIN})\s?{_UNIT}(?:[\])]|:){_BOLD}(?!\w)(.*)"
)
_BOLD_POINT = re.compile(rf"(?:\*\*|__)({_POINT}):?(?:\*\*|__):?(?!\w)(.*)")
_BULLET = re.compile(
    rf"(?:[-*•\u2013]|\d{{1,4}}[.)])\s+(?={_BOLD}[\[(]?\s*(?:{_POINT}|{_PLAIN})(?:\W|$))"
)
_FRAME = re.compile(r"(?:\[?frame\s+(\d{1,12})\]?\s*:?|(\d{1,12})\s?:)\s(.*)", re.IGNORECASE)
_LABEL = re.compile(r"(\d{1,9}\.\d{1,9})\t\d{1,9}\.\d{1,9}\t(.*)")  # Audacity's
_SEPARATOR = re.compile(
    r"\s*(?:(?:[-\u2013\u2014:|\u2192]|-{1,2}>|=>)\s+|(?:[-\u2013\u2014:|\u2192]|-{1,2}>|=>)$)"
)
_BEGINS = re.compile(r"[^\w\s\\]{0,3}\d{1,3}:[0-5]\d(?!\d)")
_AT_END = re.compile(
    r"(.*\S)(?:\s+(?:[-\u2013\u2014|:]\s+)?[\[(]?|[\[(])"
    r"((?:\d{1,9}:){1,2}[0-5]\d(?:\.\d{1,3})?)[\])]?"
)
_CLOCK_INSIDE = re.compile(r"(?<![\w:.])\d{1,3}:[0-5]\d(?::[0-5]\d(?:[:;]\d\d)?)?(?![\w:])")
_LEADING = re.compile(
    r"\W{0,3}(?:t\s?[+=]\s?|(?:at\s|from\s)?(?:seconds?|sec|time|frame)\s?[:=]?\s?)?"
    r"(\d{1,9}(?:\.\d{1,9})?)(?![\w.])",
    re.IGNORECASE,
)

_FORMS = (  # with the unit to append
    (_BRACKETED, ""),
    (_RANGE, ""),
    (_GLUED, ""),
    (_BOLD_POINT, ""),
    (_LABEL, "s"),
    (_SPAN, "s"),
    (_COUNT, "s"),
)

ALLOWED = "write 0:20, 1:05.5, 1:02:03, 90s or +8 (if it is text, put \\ in front)"


@dataclass(frozen=True, slots=True)
class StartTime:
    """A start in seconds, from the beginning or after the previous start; or a frame."""

    seconds: float
    relative: bool = False
    frame: int | None = None


def split_time(text: str) -> tuple[StartTime | None, str]:
    """Split a line into its start time, `None` if it has none, and the rest.

    Raises:
        ValueError: a time in an unknown form; names the allowed ones.
    """
    whole = text
    if bullet := _BULLET.match(text):
        text = text[bullet.end() :]
    for form, unit in _FORMS:
        if match := form.fullmatch(text):
            if form is _BRACKETED and _BRACKETED.fullmatch(match[2].strip()):
                raise ValueError(f"two times before one prompt, write a line for each: {ALLOWED}")
            return read_time(match[1] + unit), _without_separator(match[2])
    if match := _FRAME.fullmatch(f"{text} "):
        frame = int(match[1] or match[2])
        return StartTime(0.0, frame=frame), match[3].strip()
    word = text.split(maxsplit=1)[0]
    if not looks_like_time(word):
        if _BEGINS.match(whole):
            raise ValueError(
                f"{safe_text(whole, 20)} begins with a time of unknown form: {ALLOWED}"
            )
        return None, whole
    colon = word.removesuffix(":")
    stamp = colon if re.fullmatch(_POINT, colon[:_LONG]) else word
    return read_time(stamp), _without_separator(text.removeprefix(word))


def split_end(text: str) -> tuple[StartTime, str] | None:
    """Split a text into the time at its end and the rest; `None` if it has no such time."""
    if len(text) > _LONG or (match := _AT_END.fullmatch(text)) is None:
        return None
    return read_time(match[2]), match[1].rstrip(" -|:\u2013\u2014")


def has_clock(text: str) -> bool:
    """Whether a text contains a time."""
    return _CLOCK_INSIDE.search(text) is not None


def starts_at_zero(text: str) -> bool:
    """Whether the first time in a text is 0:00."""
    match = _CLOCK_INSIDE.search(text)
    return match is not None and not match[0].strip("0:;")


def leading_number(text: str) -> float | None:
    """Parse the number at the beginning of a text, as in tables of times; `None` if none."""
    match = _LEADING.match(text)
    return None if match is None else float(match[1])


def looks_like_time(word: str) -> bool:
    """Whether the first word of a line is a probable time, well formed or not."""
    if len(word) > _LONG:
        return _LONG_TIME.fullmatch(word) is not None
    return _TIME_LIKE.fullmatch(word) is not None


def read_time(word: str) -> StartTime:
    """Parse a word as a time; `ValueError` with the allowed forms for any other word."""
    shown = safe_text(word, 40)
    if word.startswith("-"):
        raise ValueError(f"{shown} is negative: {ALLOWED}")
    if match := _LATER.fullmatch(word):
        return StartTime(float(match[1]), relative=True)
    if match := _SECONDS.fullmatch(word):
        return StartTime(float(match[1]))
    if match := _UNITS.fullmatch(word):
        hours, minutes, seconds = (float(part or 0) for part in match.groups())
        return StartTime(round((hours * 60 + minutes) * 60 + seconds, 3))
    if match := _CLOCK.fullmatch(word):
        return StartTime(_clock_seconds(shown, *match.groups()))
    raise ValueError(f"{shown} is not a time: {ALLOWED}")


def _without_separator(text: str) -> str:
    """Remove the dash or colon between a time and its prompt."""
    return _SEPARATOR.sub("", text, count=1).strip() if _SEPARATOR.match(text) else text.strip()


def _clock_seconds(word: str, hours: str | None, minutes: str, seconds: str) -> float:
    last = float(seconds.replace(",", "."))
    if last >= 60 or (hours is not None and float(minutes) >= 60):
        raise ValueError(f"{word} is not a time, the parts after the first end at 59: {ALLOWED}")
    return round((float(hours or 0) * 60 + float(minutes)) * 60 + last, 3)
