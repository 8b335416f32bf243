"""Clips as a stream takes them, for the tests of clip files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from sana_stream.engine.media.clip import inspect_clip

FPS = Fraction(16)


def silent(said: str) -> None:
    """What is said does not matter here."""


def taken(path: Path | str, height: int = 64, width: int = 96, first: int = 0) -> list[np.ndarray]:
    """A clip's pictures."""
    return list(inspect_clip(path, FPS, silent).pictures(height, width, first))
