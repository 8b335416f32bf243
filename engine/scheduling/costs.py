"""Measured times of network calls."""

from __future__ import annotations

from collections.abc import Hashable
from math import prod

NEWEST = 0.3  # weight of the newest measurement
MOST_FORMS = 256  # the oldest are forgotten


class Costs:
    """Seconds of a step by its form, `(kind, shape, items)`; new measurements count most."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[Hashable, ...], float] = {}

    def measured(self, form: tuple, seconds: float) -> None:
        """Take a measurement."""
        before = self._seconds.get(form, seconds)
        self._seconds[form] = before + NEWEST * (seconds - before)
        if len(self._seconds) > MOST_FORMS:
            del self._seconds[next(iter(self._seconds))]

    def seconds(self, form: tuple) -> float:
        """Seconds of a step; by the size of the nearest form where this one is not measured.

        0 where nothing of the kind is measured.
        """
        if form in self._seconds:
            return self._seconds[form]
        kind, size = form[0], _size(form)
        known = [(abs(_size(other) - size), other) for other in self._seconds if other[0] == kind]
        if not known:
            return 0.0
        nearest = min(known, key=lambda each: each[0])[1]
        return self._seconds[nearest] * size / _size(nearest)


def _size(form: tuple) -> int:
    _, shape, items = form
    return prod(shape) * items
