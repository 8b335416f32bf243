"""From a session's blocks to the outputs, until the video is whole or somebody ends it."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from threading import Event
from typing import TYPE_CHECKING

from ..engine.story import clock
from .checkpoints import Checkpoints
from .director import Director
from .progress import Progress
from .reporter import Reporter
from .request import Request

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
    director: Director
    guard: Guard
    pump: Pump
    checkpoints: Checkpoints
    reporter: Reporter
    stop: Event

    def go(self) -> Progress:
        """Make the video; how it went."""
        request, kept = self.request, self.kept
        before = 0 if not kept else request.plan.blocks_for(kept)
        progress = Progress(
            float(request.fps), request.frames, request.blocks, before, kept, kept=kept
        )
        if kept:
            self.reporter.note(f"going on from frame {kept} ({clock(request.seconds_of(kept))})")
        begun = time.perf_counter()
        with self.reporter.running(progress), closing(self._blocks()) as blocks:
            for block in blocks:
                wanted = self.pump.write(block)
                said = self.guard.watch(block)
                progress = progress.after(block, time.perf_counter() - begun, self.guard.drift)
                self.reporter.block(progress)
                self.director.delivered(block)
                if said is not None:
                    self.reporter.note(said)
                snapshot = self.guard.known(self.session.snapshot())
                self.checkpoints.after(progress.frames, snapshot)
                if not wanted or self.stop.is_set():
                    break
        if progress.frames == request.frames:
            self.checkpoints.done()
        return progress

    def _blocks(self) -> Generator[Block]:
        """The video's blocks, each under the prompt of its time, the last one cut to the length.

        A block carries the prompt as the story has it, without what the model wants behind it, and
        begins at its place in the video.
        """
        request = self.request
        with closing(self._made()) as made:
            while request.frames is None or self._next_frame < request.frames:
                self.director.wait()
                if self.stop.is_set():
                    return
                start, begun = self._next_frame, time.perf_counter()
                block = next(made)
                self.director.made(len(block.frames), time.perf_counter() - begun)
                end = None if request.frames is None else request.frames - start
                prompt = block.prompt.removesuffix(request.prompt_suffix)
                yield replace(block, start=start, frames=block.frames[:end], prompt=prompt)

    def _made(self) -> Generator[Block]:
        """The session's blocks: two at once where nobody can interfere, else one by one."""
        from ..engine.overlap import overlapped

        if self.director.live:
            return self._directed()
        frames, offset = self.request.frames, self._offset
        end = None if frames is None else frames + offset
        return overlapped(
            self.session,
            lambda start: self._prompt_at(start - offset),
            end,
            lambda start: self.director.picture_at(start - offset),
            lambda start: self.director.negative_at(start - offset),
        )

    def _directed(self) -> Generator[Block]:
        while True:
            self.director.direct(self.session, self._next_frame)
            yield next(self.session)

    def _prompt_at(self, frame: int) -> str:
        return self.director.prompt_at(frame) + self.request.prompt_suffix

    @property
    def _next_frame(self) -> int:
        """The video's next frame."""
        return self.session.next_start - self._offset

    @property
    def _offset(self) -> int:
        """The stream's frame that is the video's first: it may begin in the middle of the stream,
        and the stream may have been taken back since."""
        return self.request.origin - self.director.shift
