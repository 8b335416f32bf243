"""The streams that the web server shows, each with an id of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from sana_stream.streaming.control.live_control import LiveControl

from .live_feed import LiveFeed
from .status import RunStatus

_ENDED_KEPT = 32  # ended streams that are still shown
_FEEDS_KEPT = 4  # of them, those whose last blocks can still be watched


@dataclass(frozen=True, slots=True)
class ActiveStream:
    """One stream with its feed, its control, its status and its recording."""

    id: int
    feed: LiveFeed
    control: LiveControl
    status: RunStatus
    recording: Path | None = None  # the growing video file, for download


class StreamRegistry:
    """The streams that have begun; runs add them, the web server reads them from its thread.

    The last 32 ended streams are kept, the last blocks and the thumbnails of 4 of them.

    Args:
        on_begin: called with each stream that begins.
    """

    def __init__(self, on_begin: Callable[[ActiveStream], None] = lambda _: None) -> None:
        self._on_begin = on_begin
        self._lock = Lock()
        self._streams: dict[int, ActiveStream] = {}  # in the order in which they began
        self._last = 0

    @property
    def newest(self) -> ActiveStream | None:
        """The stream that began last, running or ended; None before the first."""
        with self._lock:
            return next(reversed(self._streams.values()), None)

    @property
    def listed(self) -> tuple[ActiveStream, ...]:
        """All streams that are kept, oldest first."""
        with self._lock:
            return tuple(self._streams.values())

    @property
    def running(self) -> tuple[ActiveStream, ...]:
        """The streams that have not ended, oldest first."""
        with self._lock:
            return tuple(each for each in self._streams.values() if not each.status.finished)

    def find(self, stream_id: str) -> ActiveStream | None:
        """The stream with an id, as it is written in an address; None where there is none."""
        with self._lock:
            return next(
                (each for each in self._streams.values() if str(each.id) == stream_id), None
            )

    def begin(
        self,
        feed: LiveFeed,
        control: LiveControl,
        status: RunStatus,
        recording: Path | None = None,
        stream_id: int | None = None,
    ) -> ActiveStream:
        """Add a stream, which becomes the newest one.

        Args:
            feed: its newest blocks.
            control: directs it.
            status: its state.
            recording: its video file, which may be downloaded.
            stream_id: its id. None: the one after the last.
        """
        with self._lock:
            number = self._last + 1 if stream_id is None else stream_id
            self._last = max(self._last, number)
            stream = ActiveStream(number, feed, control, status, recording)
            self._streams.pop(number, None)
            self._streams[number] = stream
            self._forget()
        self._on_begin(stream)
        return stream

    def _forget(self) -> None:
        ended = [each for each in self._streams.values() if each.status.finished]
        for stream in ended[:-_ENDED_KEPT]:
            del self._streams[stream.id]
        for stream in ended[:-_FEEDS_KEPT]:
            stream.feed.drop()
            stream.status.thumbnails.clear()
