"""From a session's blocks to the outputs, until the video is whole or somebody ends it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .checkpoints import Checkpoints
from .pace import Pace
from .reporter import Reporter
from .request import Request
from .stop import Stop

if TYPE_CHECKING:
    from ..engine.block import Block
    from ..engine.guard import Guard
    from ..engine.session import Session
    from ..streaming.pump import Pump


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that takes part in one run."""

    request: Request
    kept: int  # frames of an earlier run
    session: Session
    guard: Guard
    pump: Pump
    checkpoints: Checkpoints
    reporter: Reporter
    stop: Stop

    def go(self) -> Pace:
        """Make the video; how it went."""
        request, kept = self.request, self.kept
        before = 0 if not kept else request.plan.blocks_for(kept)
        pace = Pace(float(request.fps), request.frames, request.blocks, before, kept, kept=kept)
        begun = time.perf_counter()
        with self.reporter.running(pace):
            for block in self._blocks():
                wanted = self.pump.write(block)
                stats, spent = block.stats, time.perf_counter() - begun
                pace = pace.after(
                    len(block.frames), spent, stats.memory_bytes, stats.peak_memory_bytes,
                    block.prompt,
                )  # fmt: skip
                self.reporter.block(pace)
                if (said := self.guard.watch(block)) is not None:
                    self.reporter.note(said)
                self.checkpoints.after(pace.frames, self.session.snapshot())
                if not wanted or self.stop.asked.is_set():
                    break
        if pace.frames == request.frames:
            self.checkpoints.done()
        return pace

    def _blocks(self) -> Iterator[Block]:
        """The video's blocks, each under the prompt of its time, the last one cut to the length.

        A block carries the prompt as the story has it, without what the model wants behind it, and
        begins at its place in the video.
        """
        request, session, shown = self.request, self.session, None
        while request.frames is None or self._next_frame < request.frames:
            start = self._next_frame
            prompt = request.timeline.prompt_at(start)
            session.switch(prompt + request.prompt_suffix)
            if shown not in (None, prompt):
                self.reporter.switch(prompt, start, request.seconds_of(start))
            shown = prompt
            block = next(session)
            end = None if request.frames is None else request.frames - start
            yield replace(block, start=start, frames=block.frames[:end], prompt=prompt)

    @property
    def _next_frame(self) -> int:
        """The video's next frame; a branch begins in the middle of its stream."""
        return self.session.next_start - self.request.origin
