"""How strongly a LoRA counts: a number that is checked before anything is loaded."""

from __future__ import annotations

from contextlib import suppress
from numbers import Real
from typing import Any

from sana_stream._text import safe_text

from .errors import ConfigError

LARGEST = 1000.0  # either way; 1 is as trained


def check_scale(value: Any, file: object) -> float:
    """A scale as a number.

    Raises:
        ConfigError: no number, not finite, or far beyond what a LoRA can take.
    """
    if isinstance(value, Real) and not isinstance(value, bool):
        with suppress(OverflowError):
            if abs(number := float(value)) <= LARGEST:  # which NaN is not
                return number
    raise ConfigError(
        f"LoRA {safe_text(file)} has the scale {safe_text(value, 40)}; give a number from"
        f" -{LARGEST:g} to {LARGEST:g}, such as 0.8"
    )
