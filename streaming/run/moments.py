"""The moments of a running video at which another one can branch off."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from sana_stream.errors import BranchError, ConfigError

from .plan import RunPlan
from .stored import run_to_json

if TYPE_CHECKING:
    from sana_stream.engine.session.session import Session

_MOST = 4096  # moments; far more than any history holds


class Moments:
    """Where in its video a session was between two blocks, as far back as its history reaches.

    After a rewind the video continues, so a frame of the video is not that of the session's stream.
    Methods may be called from any thread.
    """

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self._lock = Lock()
        self._kept: deque[tuple[int, int]] = deque(maxlen=_MOST)  # frames of video, of the stream
        self._session: Session | None = None

    def on_block(self, frames: int, session: Session) -> None:
        """Record a delivered block, after which the video has `frames` frames."""
        start = session.next_start
        with self._lock:
            while self._kept and self._kept[-1][1] >= start:  # the stream was rewound
                self._kept.pop()
            self._kept.append((frames, start))
            self._session = session

    def save(self, path: Path, seconds: float | None = None) -> float:
        """Save the last moment at or before a time as a checkpoint, from which a branch begins.

        Args:
            path: an existing file is replaced atomically.
            seconds: of the video; None: its end.

        Returns:
            The moment in seconds of the video.

        Raises:
            BranchError: no moment is that old, or there is no block yet.
            SnapshotError: the file cannot be written.
        """
        if (session := self._session) is None:
            raise BranchError("no block of it is made yet: try again later")
        oldest = session.oldest_start
        with self._lock:
            kept = [each for each in self._kept if each[1] >= oldest]
        if not kept:
            raise BranchError("it was just rewound: try again after its next block")
        limit = kept[-1][0] if seconds is None else round(seconds * self._plan.fps)
        for frames, start in reversed(kept):
            if frames <= limit and self._save(path, session, start):
                return self._plan.seconds_of(frames)
        if seconds is None:
            raise BranchError("no moment of it is kept: try again after its next block")
        begin, end = (self._plan.seconds_of(each[0]) for each in (kept[0], kept[-1]))
        raise BranchError(
            f"{seconds:g} s is not kept: give {begin:g} to {end:g} s, or leave seconds out for the"
            " end"
        )

    def _save(self, path: Path, session: Session, start: int) -> bool:
        """Save the moment before a frame of the stream; False where it is not kept any more."""
        try:
            session.save(path, {"run": run_to_json(self._plan)}, start=start)
        except ConfigError:  # it has left the history meanwhile, or the stream was rewound
            return False
        return True
