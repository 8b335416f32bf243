"""Frames of clip files, for tests."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from sana_stream.engine.media.clip import inspect_clip

FPS = Fraction(16)


def ignore_note(note: str) -> None:
    """Ignore a note."""


def read_frames(
    path: Path | str, height: int = 64, width: int = 96, first: int = 0
) -> list[np.ndarray]:
    """Inspect a clip and read its frames."""
    return list(inspect_clip(path, FPS, ignore_note).pictures(height, width, first))
