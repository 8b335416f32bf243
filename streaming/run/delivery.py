"""Where the video of a run goes: its outputs, its page, and the checkpoint next to its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from sana_stream.engine.story.story import Story
from sana_stream.errors import ConfigError
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.outputs.locks import OutputLocks

from .checkpoints import Checkpoints
from .config import RunConfig
from .live import LiveSession, open_live
from .outputs import audio_of, open_outputs
from .plan import RunPlan
from .served import ServedOutputs
from .start import open_pump

if TYPE_CHECKING:
    from sana_stream.engine.engine import Engine
    from sana_stream.engine.session.session import Session
    from sana_stream.streaming.outputs.base import Output
    from sana_stream.streaming.outputs.pump import OutputPump

Resolve = Callable[[Story, RunConfig], RunPlan]
"""Places a changed story on the blocks of a run."""


class RunDelivery:
    """The outputs of one run, what shows and directs it, and its checkpoint.

    Args:
        control: directs the run.
        locks: those of its files.
        resolve: places a changed story on its blocks.
        stdout: the descriptor for video on standard output.

    Attributes:
        live: what directs the run; None where nothing may.
    """

    def __init__(
        self, control: LiveControl, locks: OutputLocks, resolve: Resolve, stdout: int | None
    ) -> None:
        self.live: LiveSession | None = None
        self._control = control
        self._locks = locks
        self._resolve = resolve
        self._stdout = stdout
        self._outputs: Sequence[Output] | None = None
        self._served: ServedOutputs | None = None
        self._checkpoints: Checkpoints | None = None

    def use_outputs(self, outputs: Sequence[Output]) -> None:
        """Deliver to outputs that are open already, in place of the configuration's."""
        self._outputs = outputs

    def use_served(self, served: ServedOutputs) -> None:
        """Let the page of a server show and direct the run; after `use_outputs`."""
        self._served, self.live = served, served.live(self._control, self._resolve)

    def attach(self, session: Session) -> Session:
        """The session that makes the run's blocks, given the one that has begun."""
        return session if self._served is None else self._served.attach(session)

    def finish(self) -> None:
        """Take the video as complete: it leaves no checkpoint."""
        if self._checkpoints is not None:
            self._checkpoints.finish()

    def open(self, opened: ExitStack, config: RunConfig, plan: RunPlan) -> None:
        """Lock and open everything, until `opened` is closed; raises as `Run.__enter__`."""
        locks, stop = opened.enter_context(self._locks), self._control.stop
        self._checkpoints = opened.enter_context(Checkpoints(plan, locks))
        audio = None
        if self._outputs is None or (self.live is None and config.web is not None):
            audio = audio_of(config)
        if self._outputs is None:
            if not config.outputs and config.web is None:
                raise ConfigError("outputs is empty: name a file, such as outputs=['film.mp4']")
            opening = open_outputs(plan, locks, stop, self._stdout, audio)
            self._outputs = opened.enter_context(opening)
        else:
            for output in self._outputs:
                opened.callback(output.close)
        if self.live is None:
            opening = open_live(plan, self._control, self._resolve, audio)
            self.live = opened.enter_context(opening)

    def begin(self, opened: ExitStack, engine: Engine) -> tuple[OutputPump, Checkpoints]:
        """What takes the blocks, and what takes the snapshots after them, once all is open."""
        assert self._outputs is not None
        assert self._checkpoints is not None
        pump, served = open_pump(opened, engine, self._outputs, self.live), self._served
        kept = (lambda: pump.saved_frames) if served is None else served.saved_frames
        self._checkpoints.begin(engine, kept)
        return pump, self._checkpoints
