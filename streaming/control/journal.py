"""A control whose changes outlive the process, for streams that are resumed after a crash."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .live_control import LiveControl
from .pending_changes import PendingChanges


class JournaledControl(LiveControl):
    """Records each change of prompts, negative prompt, seed and picture before its block is made.

    A resumed stream repeats the changes that came after its checkpoint, at the same frames, so that
    its video equals an undisturbed one. Rewinds and saved moments are not repeated.

    Args:
        record: keeps the changes that take effect at a frame of the video.
        earlier: those that were recorded before, by frame.
    """

    def __init__(
        self,
        record: Callable[[int, PendingChanges], None],
        earlier: Mapping[int, PendingChanges],
    ) -> None:
        super().__init__()
        self._record = record
        self._earlier = dict(earlier)

    def drain(self, frame: int | None = None) -> PendingChanges:
        """The earlier changes at this frame, or else the new ones, which are recorded."""
        if frame is not None:
            earlier = self._earlier.pop(frame, None)
            self._earlier = {at: each for at, each in self._earlier.items() if at > frame}
            if earlier is not None:
                return earlier
        changes = super().drain(frame)
        if frame is not None and changes.lasting != PendingChanges():
            self._record(frame, changes.lasting)
        return changes
