"""The last seconds of a stream, kept so that it can go back and take another turn."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ..models.errors import ConfigError
from .shelf import Shelf
from .snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class _Entry:
    start: int  # first pixel frame of the block that follows
    key: int  # the snapshot's on the shelf


class History:
    """A snapshot before each of the last blocks, bounded in frames and in bytes.

    Args:
        shelf: where the snapshots are kept.
        frames: how far back it must be possible to go, in pixel frames.
        max_bytes: what the shelf may hold; the oldest snapshots go first.
    """

    def __init__(self, shelf: Shelf, frames: int, max_bytes: int) -> None:
        check_history(frames, max_bytes)
        self._shelf = shelf
        self._frames = frames
        self._max_bytes = max_bytes
        self._entries: deque[_Entry] = deque()

    def keep(self, start: int, snapshot: Snapshot) -> None:
        """Keep the snapshot before the block that starts at this pixel frame."""
        self.forget_from(start)
        self._entries.append(_Entry(start, self._shelf.put(snapshot)))
        while len(self._entries) > 1 and self._has_too_much():
            self._shelf.drop(self._entries.popleft().key)

    def before(self, frame: int) -> Snapshot:
        """The snapshot before the last block that starts at or before this pixel frame.

        Raises:
            LookupError: nothing that old is kept.
        """
        entry = next((entry for entry in reversed(self._entries) if entry.start <= frame), None)
        if entry is None:
            raise LookupError(frame)
        return self._shelf.get(entry.key)

    def forget_from(self, start: int) -> None:
        """Drop what is kept of this pixel frame and later ones."""
        while self._entries and self._entries[-1].start >= start:
            self._shelf.drop(self._entries.pop().key)

    @property
    def oldest(self) -> int | None:
        """The first pixel frame that it is possible to go back to."""
        return self._entries[0].start if self._entries else None

    @property
    def nbytes(self) -> int:
        """Bytes of everything kept; what snapshots share counts once."""
        return self._shelf.nbytes

    def clear(self) -> None:
        """Drop everything."""
        self.forget_from(0)

    def _has_too_much(self) -> bool:
        second, newest = self._entries[1].start, self._entries[-1].start
        return second <= newest - self._frames or self._shelf.nbytes > self._max_bytes


def check_history(frames: int, max_bytes: int) -> None:
    """Refuse a history that would hold nothing.

    Raises:
        ConfigError: no frame, or no byte.
    """
    if frames < 1 or max_bytes < 1:
        raise ConfigError(
            f"a history of {frames} frames and {max_bytes} bytes keeps nothing;"
            " give more than 0 of both"
        )
