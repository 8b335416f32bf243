"""The past of a session: the moments that it can go back to."""

from __future__ import annotations

from pathlib import Path

from sana_stream._arguments import ARGUMENTS
from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.snapshot.snapshot import Snapshot
from sana_stream.errors import ConfigError

from .history import History, MemorySnapshotStore, check_history, open_disk_store

LONGEST = 1e9  # seconds


class SessionPast:
    """The history of a session; without one it has no moment but the current one."""

    def __init__(self, history: History | None = None) -> None:
        self._history = history

    def keep(self, start: int, snapshot: Snapshot) -> None:
        """Keep the moment before the block that starts at a pixel frame."""
        if self._history is not None:
            self._history.keep(start, snapshot)

    def oldest(self, current: int) -> int:
        """First pixel frame of the oldest block before which a moment is kept.

        Args:
            current: first pixel frame of the next block, which always counts.
        """
        oldest = None if self._history is None else self._history.oldest
        return current if oldest is None else oldest

    def before(self, start: int, current: int) -> Snapshot:
        """The moment before the block that starts at a pixel frame; raises ConfigError."""
        if self._history is None or not self._history.has(start):
            raise ConfigError(
                f"no block that starts at frame {start} is kept: give the start of one from frame"
                f" {self.oldest(current)} to {current}"
            )
        return self._history.before(start)

    def rewind(self, seconds: float, fps: float, current: int) -> Snapshot:
        """The moment at or before `seconds` seconds ago, after `current` pixel frames.

        Raises:
            ConfigError: further than the history reaches.
        """
        target = max(0, current - round(seconds * fps))
        if self._history is None or target < self.oldest(current):
            kept = (current - self.oldest(current)) / fps
            raise ConfigError(
                f"cannot rewind {seconds:g} s: the history holds {kept:.1f} s; keep a longer one"
            )
        return self._history.before(target)

    def forget_from(self, start: int) -> None:
        """Remove the moments from a pixel frame on."""
        if self._history is not None:
            self._history.forget_from(start)


def open_past(
    model: LoadedModel, seconds: float, max_bytes: int, folder: str | Path | None
) -> SessionPast:
    """A past that keeps moments; arguments and errors are those of `Session.keep_history`."""
    seconds = ARGUMENTS.number("seconds", seconds, most=LONGEST)
    max_bytes = ARGUMENTS.whole("max_bytes", max_bytes)
    frames = round(seconds * model.preset.fps)
    check_history(frames, max_bytes)
    store = MemorySnapshotStore(model.device)
    if folder is not None:
        store = open_disk_store(ARGUMENTS.path("folder", folder), model)
    return SessionPast(History(store, frames, max_bytes))
