"""What can go wrong with an output; each message is one line that a person can act on."""

from __future__ import annotations

from sana_stream._text import safe_text

LONGEST_MESSAGE = 1000  # characters


class OutputError(OSError):
    """An output failed: which one, why, and what of the video is safe."""

    def __str__(self) -> str:
        return safe_text(super().__str__(), LONGEST_MESSAGE)


class ReaderDisconnected(OutputError):  # noqa: N818 - an end, not a fault
    """Whoever took the video has closed the other end."""


class OutputCancelled(OutputError):  # noqa: N818 - likewise
    """The run was asked to stop while the output waited for a reader that takes nothing."""


class InvalidOutputError(ValueError):
    """An output that cannot be opened as asked: what was given, what is allowed."""

    def __str__(self) -> str:
        return safe_text(super().__str__(), LONGEST_MESSAGE)
