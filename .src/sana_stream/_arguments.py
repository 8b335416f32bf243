"""Validation of arguments of the Python interface: type, then range, before any work.

Each check returns the value in its plain form (a numpy integer as `int`, a path as `Path`), so that
later code need not check again. `bool` is never accepted as a number, and nothing is rounded.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from ._files import expand_user
from ._text import LINE_BREAKS, find_control, safe_text
from .errors import ConfigError, InvalidOutputError

TEXT_LIMIT = 2_000_000  # characters of a prompt; a whole story is smaller
_MAX_PATH = 4096
_ALLOWED_CONTROLS = LINE_BREAKS + "".join(map(chr, range(0x80, 0xA0)))  # C1 is harmless here


@dataclass(frozen=True, slots=True)
class Arguments:
    """Checks that raise errors of one class; each message names the parameter."""

    error: Callable[[str], Exception]

    def whole(
        self, name: str, value: object, least: int | None = None, most: int | None = None
    ) -> int:
        """Check a whole number from `least` to `most`, of any integer type."""
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise self._wrong(name, value, "a whole number", least, most)
        number = int(value)
        if (least is not None and number < least) or (most is not None and number > most):
            raise self._out_of_range(name, number, least, most, "use a whole number")
        return number

    def number(
        self,
        name: str,
        value: object,
        least: float | None = None,
        most: float | None = None,
        above: float | None = None,
    ) -> float:
        """Check a finite number from `least` (or more than `above`) to `most`."""
        if not isinstance(value, Real) or isinstance(value, bool):
            raise self._wrong(name, value, "a number", least, most, above)
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        fits = (
            math.isfinite(number)
            and (least is None or number >= least)
            and (above is None or number > above)
            and (most is None or number <= most)
        )
        if not fits:
            raise self._out_of_range(name, number, least, most, "use a number", above)
        return number

    def text(self, name: str, value: object, *, empty: bool = False) -> str:
        """Check text that can be displayed and stored; `empty` allows white space only."""
        if not isinstance(value, str):
            raise self._wrong(name, value, "text (a str)")
        if not empty and not value.strip():
            raise self.error(f"{name} is empty: describe the scene")
        if len(value) > TEXT_LIMIT:
            raise self.error(f"{name} has {len(value)} characters: at most {TEXT_LIMIT} are read")
        if (found := find_control(value, _ALLOWED_CONTROLS)) is not None:
            raise self.error(f"{name} must not contain {found[0]!r}: leave it out")
        return value

    def path(self, name: str, value: object) -> Path:
        """Check the path of a file or a folder, and resolve `~`."""
        if not isinstance(value, str | os.PathLike):
            raise self._wrong(name, value, "a path (a str or a Path)")
        text = os.fspath(value)
        if not isinstance(text, str):
            raise self._wrong(name, value, "a path (a str or a Path)")
        if not text or "\0" in text or len(text) > _MAX_PATH or not _is_encodable(text):
            raise self.error(f"{name} {safe_text(text)!r} is not a path: give the name of a file")
        return expand_user(text)

    def flag(self, name: str, value: object) -> bool:
        """Check True or False."""
        if not isinstance(value, bool):
            raise self._wrong(name, value, "True or False")
        return value

    def word(self, name: str, value: object, allowed: Sequence[str] | None = None) -> str:
        """Check a str, one of the `allowed` values if given."""
        if not isinstance(value, str) or (allowed is not None and value not in allowed):
            expected = "a str" if allowed is None else f"one of {', '.join(allowed)}"
            raise self._wrong(name, value, expected)
        return value

    def items(self, name: str, value: object, expected: str, limit: int) -> list[Any]:
        """Check a list, tuple or array, not a str or set; `expected` describes it in messages."""
        plain = not isinstance(value, str | bytes | bytearray | Mapping | Set)
        if not plain or not isinstance(value, Iterable):
            raise self._wrong(name, value, expected)
        found: list[Any] = []
        try:
            for item in value:
                if len(found) >= limit:
                    raise self.error(f"{name}: give at most {limit}")
                found.append(item)
        except TypeError as error:  # an array without dimensions
            raise self._wrong(name, value, expected) from error
        return found

    def _wrong(
        self,
        name: str,
        value: object,
        expected: str,
        least: float | None = None,
        most: float | None = None,
        above: float | None = None,
    ) -> Exception:
        return self.error(f"{name} {shown(value)}: give {expected}{_span(least, most, above)}")

    def _out_of_range(
        self,
        name: str,
        value: float,
        least: float | None,
        most: float | None,
        expected: str,
        above: float | None = None,
    ) -> Exception:
        span = _span(least, most, above)
        return self.error(f"{name} {_brief(value)} is out of range; {expected}{span}")


def _is_encodable(path: str) -> bool:
    """Whether a file can have this name: a lone surrogate cannot be encoded."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True


def shown(value: object) -> str:
    """Format a value of any type for a message: short, safe, and with its type if needed."""
    if value is None or isinstance(value, bool):
        return repr(value)
    kind = type(value).__name__
    if isinstance(value, int):
        return _brief(value)
    if isinstance(value, str | float):
        return safe_text(repr(value), 80)
    return f"of type {safe_text(kind, 40)}"


def _brief(value: float) -> str:
    if isinstance(value, int):
        return str(value) if abs(value) < 10**30 else f"of {value.bit_length() * 3 // 10} digits"
    return f"{value:g}"


def _span(least: float | None, most: float | None, above: float | None) -> str:
    if above is not None:
        end = "" if most is None else f", at most {_limit(most)}"
        return f" of more than {_limit(above)}{end}"
    if least is not None and most is not None:
        return f" from {_limit(least)} to {_limit(most)}"
    if least is not None:
        return f" of {_limit(least)} or more"
    return "" if most is None else f" of at most {_limit(most)}"


def _limit(value: float) -> str:
    if isinstance(value, int):
        return "2**63 - 1" if value == 2**63 - 1 else str(value)
    return f"{value:g}"


ARGUMENTS = Arguments(ConfigError)
OUTPUT_ARGUMENTS = Arguments(InvalidOutputError)
