"""The errors that the library raises on purpose; each message says what to do."""

from __future__ import annotations

from sana_stream._text import safe_text

LONGEST_MESSAGE = 1000  # characters


class SanaStreamError(Exception):
    """Base of every error of this library: one line that a person can act on.

    What files and callers named in it is made harmless for a terminal.
    """

    def __str__(self) -> str:
        return safe_text(super().__str__(), LONGEST_MESSAGE)


class ConfigError(SanaStreamError, ValueError):
    """A setting that cannot be used: what was given, what is allowed."""


class CheckpointError(SanaStreamError):
    """A checkpoint that cannot be loaded: a missing part, a wrong shape, an unknown key."""
