"""What a server opens for one of its streams, in place of the outputs of a configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sana_stream.engine.story.story import Story
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.web.registry import ActiveStream

from .config import RunConfig
from .live import LiveSession
from .plan import RunPlan

if TYPE_CHECKING:
    from sana_stream.engine.session.session import Session
    from sana_stream.streaming.outputs.recording import LimitedRecording


@dataclass(frozen=True, slots=True)
class ServedOutputs:
    """The page and the recording of a stream.

    Args:
        stream: shows the run on a page, and directs it from there.
        attach: called with the session when the stream begins; returns the one that makes its
            blocks, such as one that shares its engine with others.
        recording: the file, as far as the video is recorded.
        path: the file's name: checkpoints are written next to it.
        is_kept: whether the file stays when the server has ended.
    """

    stream: ActiveStream
    attach: Callable[[Session], Session]
    recording: LimitedRecording | None = None
    path: str | None = None
    is_kept: bool = True

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the files that are written."""
        return () if self.path is None else (self.path,)

    @property
    def outputs(self) -> tuple[LimitedRecording, ...]:
        """The outputs next to the page."""
        return () if self.recording is None else (self.recording,)

    def live(
        self, control: LiveControl, resolve: Callable[[Story, RunConfig], RunPlan]
    ) -> LiveSession:
        """What directs the run; `resolve` places a changed story on its blocks."""
        return LiveSession(control, resolve, None, self.stream, self.is_recorded, self.is_kept)

    def is_recorded(self) -> bool:
        """Whether further blocks are recorded."""
        return self.recording is not None and not self.recording.ended_early

    def saved_frames(self) -> int | None:
        """How many frames are in the file; None once no more will be."""
        return self.recording.frames if self.recording and self.is_recorded() else None
