"""Parsers of option values; each raises ArgumentTypeError with what is allowed."""

from __future__ import annotations

import math
import re
from argparse import ArgumentTypeError
from fractions import Fraction
from pathlib import PurePath

from sana_stream._files import expand_user
from sana_stream._text import safe_text
from sana_stream.streaming.video_format import LEAST, MOST, read_rate

MOST_COUNTED = 10**9
LONGEST = 10**9  # seconds, 31 years
_SHOWN_CHARACTERS = 60  # characters of a value in a message


def filled(text: str) -> str:
    """Any text that is not blank."""
    if not text.strip():
        raise ArgumentTypeError("the value is empty: give one, or leave the option out")
    return text


def file_name(text: str) -> str:
    """The name of a file; no folder, URL or standard input."""
    if text == "-" or "://" in text or PurePath(filled(text)).name in ("", ".."):
        raise ArgumentTypeError(f"{_quoted(text)} is not a file name: give the name of a file")
    return text


def positive_number(text: str) -> float:
    """A finite number above 0."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise ArgumentTypeError(f"{_shown(text)} is not possible: give more than 0")
    return value


def positive_seconds(text: str) -> float:
    """A number of seconds above 0, at most 31 years."""
    value = positive_number(text)
    if value > LONGEST:
        raise ArgumentTypeError(f"{_shown(text)} is not possible: give at most {LONGEST}")
    return value


def positive_minutes(text: str) -> float:
    """A number of minutes above 0, at most 31 years."""
    value = positive_number(text)
    if value > LONGEST // 60:
        raise ArgumentTypeError(
            f"{_shown(text)} is not possible: give at most {LONGEST // 60}, or --endless"
        )
    return value


def number_from_zero(text: str) -> float:
    """A finite number from 0 on."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise ArgumentTypeError(f"{_shown(text)} is not possible: give 0 or more")
    return value


def duration(text: str) -> float:
    """A duration in seconds, from 30s, 5m, 2h or a plain number; `off` is 0."""
    if text == "off":
        return 0.0
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)([smh]?)", text.strip())
    if match is None:
        raise ArgumentTypeError(f"{_quoted(text)} is not a duration: give 30s, 5m, 2h or off")
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
    if seconds > LONGEST:
        raise ArgumentTypeError(f"{_shown(text)} is not possible: give at most {LONGEST}s")
    return seconds


def scaled_file(text: str) -> tuple[str, float]:
    """A file with a scale: lora.safetensors (scale 1) or lora.safetensors:0.8.

    If a file with the whole text as its name exists, it is that file.
    """
    from sana_stream.errors import ConfigError
    from sana_stream.models.lora.settings import check_scale

    name, colon, scale = text.rpartition(":")
    if not (colon and name) or _exists(text):
        return text, 1.0
    try:
        return name, check_scale(float(scale), name)
    except ConfigError as error:
        raise ArgumentTypeError(str(error)) from None
    except ValueError:
        if _exists(name):
            raise ArgumentTypeError(f"{scale!r} after {name!r} is not a number: give 0.8") from None
        return text, 1.0


def _exists(name: str) -> bool:
    try:
        return expand_user(name).exists()
    except (OSError, ValueError):  # not a valid path
        return False


def positive_count(text: str) -> int:
    """A whole number from 1 on."""
    value = _whole(text)
    if value < 1:
        raise ArgumentTypeError(f"{_shown(text)} is not possible: give 1 or more")
    if value > MOST_COUNTED:
        raise ArgumentTypeError(f"{_shown(text)} is not possible: give at most {MOST_COUNTED}")
    return value


def positive_duration(text: str) -> float:
    """A duration in seconds, above 0."""
    seconds = duration(text)
    if not seconds:
        raise ArgumentTypeError(
            f"{_shown(text)} is not possible: give more than 0, such as 30m or 1h"
        )
    return seconds


def size_in_bytes(text: str) -> int:
    """A number of bytes, from 500MB, 20GB or 1.5TB."""
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s?([MGT])B?", text.strip(), re.IGNORECASE)
    count = 0.0 if match is None else float(match[1])
    if match is None or not 0 < count < 1e9:
        raise ArgumentTypeError(f"{_quoted(text)} is not a size: give 500MB, 20GB or 1.5TB")
    return round(count * {"M": 10**6, "G": 10**9, "T": 10**12}[match[2].upper()])


def port(text: str) -> int:
    """A port number; 0 is any free port."""
    value = _whole(text)
    if not 0 <= value < 1 << 16:
        raise ArgumentTypeError(f"{_shown(text)} is not possible: give 0 to 65535")
    return value


def token(text: str) -> str:
    """A token of 8 to 200 characters that need no escape in a URL."""
    if not re.fullmatch(r"[A-Za-z0-9._~-]{8,200}", text):
        raise ArgumentTypeError("give at least 8 letters or digits (. _ ~ - are allowed)")
    return text


def seed(text: str) -> int:
    """A seed: a whole number from 0 to 2**63 - 1."""
    value = _whole(text)
    if not 0 <= value < 1 << 63:
        raise ArgumentTypeError(f"{_shown(text)} is not possible: give 0 to {(1 << 63) - 1}")
    return value


def quality(text: str) -> int:
    """A quality on the scale of a codec, a whole number."""
    return _whole(text)


def rate(text: str) -> Fraction:
    """A frame rate in frames per second: 16, 23.976 (which is 24000/1001) or 24000/1001."""
    value = read_rate(text)
    if value is None and _is_negative(text):
        raise ArgumentTypeError(f"{_shown(text)} is not possible: give more than 0")
    if value is None:
        raise ArgumentTypeError(
            f"{_quoted(text)} is not a frame rate: give 16, 23.976 or 24000/1001"
        )
    if not value > 0:
        raise ArgumentTypeError(f"{_shown(text)} is not possible: give more than 0, at most {MOST}")
    if not LEAST <= value <= MOST:
        raise ArgumentTypeError(f"{_shown(text)} is not possible: give {float(LEAST):g} to {MOST}")
    return value.limit_denominator(100_000)


def size(text: str) -> tuple[int, int]:
    """Width and height in pixels, from WIDTHxHEIGHT."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.strip().lower())
    if match is None:
        raise ArgumentTypeError(
            f"{_quoted(text)} is not a size: give WIDTHxHEIGHT, such as 832x480"
        )
    return int(match[1]), int(match[2])


def aspect(text: str) -> str:
    """An aspect ratio, from W:H or a number."""
    from sana_stream.engine.loading.sizes import parse_aspect
    from sana_stream.errors import ConfigError

    try:
        parse_aspect(text)
    except ConfigError as error:
        raise ArgumentTypeError(str(error).removeprefix("aspect ")) from None
    return text


def steps(text: str) -> int | tuple[float, ...]:
    """A number of denoising steps, or timesteps separated by commas."""
    if "," not in text:
        return positive_count(text)
    return tuple(_number(part) for part in text.split(",") if part.strip())


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ArgumentTypeError(f"{_quoted(text)} is not a number") from None
    return value


def _whole(text: str) -> int:
    digits = text.strip().removeprefix("-").removeprefix("+").replace("_", "")
    if digits.isdecimal() and len(digits) > 300:
        raise ArgumentTypeError(f"a number of {len(digits)} digits is not possible")
    try:
        return int(text)
    except ValueError:
        raise ArgumentTypeError(f"{_quoted(text)} is not a whole number") from None


def _is_negative(text: str) -> bool:
    return text.strip().startswith("-") and read_rate(text.strip()[1:]) is not None


def _shown(text: str) -> str:
    return safe_text(text, _SHOWN_CHARACTERS)


def _quoted(text: str) -> str:
    return f"'{_shown(text)}'"
