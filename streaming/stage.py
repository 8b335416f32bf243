"""What the web page shows: the stream of now, which may be followed by another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .board import Board
from .control import Control
from .feed import LiveFeed


@dataclass(frozen=True, slots=True)
class Show:
    """One stream with all that belongs to it."""

    number: int
    feed: LiveFeed
    control: Control
    board: Board
    recording: Path | None = None  # the video file that grows with it, for download


class Stage:
    """Holds the stream that is on; set by the run, read by the web server."""

    def __init__(self) -> None:
        self._show: Show | None = None

    @property
    def show(self) -> Show | None:
        """The stream of now, or the last one; None before the first."""
        return self._show

    def begin(
        self, feed: LiveFeed, control: Control, board: Board, recording: Path | None = None
    ) -> Show:
        """Put another stream on."""
        number = 0 if self._show is None else self._show.number + 1
        self._show = Show(number, feed, control, board, recording)
        return self._show
