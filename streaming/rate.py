"""Frames a second as an exact fraction: 23.976 is 24000/1001 to every editor."""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil
from numbers import Rational

FINEST = 100_000  # the largest denominator that a container keeps
MOST = 1000
LEAST = Fraction(1, 1000)
_DECIMAL = re.compile(r"[0-9]{1,12}(?:\.[0-9]{0,20})?|\.[0-9]{1,20}")


def read_rate(text: str) -> Fraction | None:
    """The rate that a text names, `None` where it names none.

    Whole and decimal numbers and fractions of them are read: 16, 23.976, 24000/1001, 24/1.001. A
    rounded broadcast rate becomes the fraction that it stands for.
    """
    over, slash, under = text.strip().partition("/")
    over, under = over.strip(), under.strip()
    if not _DECIMAL.fullmatch(over) or (slash and not _DECIMAL.fullmatch(under)):
        return None
    if slash:
        return Fraction(over) / Fraction(under) if Fraction(under) else None
    return _broadcast(over) or Fraction(over).limit_denominator(FINEST)


def rate_of(value: float | Fraction) -> Fraction:
    """The rate of a number; a float is read as its decimal digits, a fraction is exact."""
    if isinstance(value, Rational):
        return Fraction(int(value.numerator), int(value.denominator))
    found = read_rate(str(value))  # numpy's floats of 32 bits have digits of their own
    return Fraction(float(value)).limit_denominator(FINEST) if found is None else found


def _broadcast(text: str) -> Fraction | None:
    """`N * 1000 / 1001` where that, rounded to as many digits, is what was written."""
    digits = len(text.partition(".")[2].rstrip("0"))
    if digits < 2:
        return None
    value = Fraction(text)
    rate = Fraction(ceil(value) * 1000, 1001)
    # in two digits only the usual ones: 23.98 is one of them, 24.98 is a rate of somebody's own
    usual = digits > 2 or not (ceil(value) % 12 and ceil(value) % 15)
    # the last digit may have been cut off in place of rounded
    slack = Fraction(1, 2 * 10**digits) if digits <= 3 else Fraction(1, 10**digits)
    return rate if usual and abs(rate - value) <= max(slack, Fraction(1, 10**9)) else None
