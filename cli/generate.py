"""A run: the story's prompts into a session, its blocks into the outputs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console

from . import model
from .live import LiveDisplay
from .options import Options
from .outputs import open_outputs
from .pace import Pace
from .reporter import Lines, Reporter, Silent
from .request import Request, make_request
from .stop import Stop
from .words import closing_lines

if TYPE_CHECKING:
    from ..engine.block import Block
    from ..engine.engine import Engine
    from ..engine.session import Session
    from ..streaming.pump import Pump


def generate(options: Options, stdout: int | None) -> int:
    """Make the video that is asked for; returns the exit code.

    `stdout` is the descriptor for video on standard output, where one is asked for. Raises the
    library's errors as they come.
    """
    reporter = _reporter(options.quiet)
    request = make_request(options, options.story(), model.describe(options.model, options.parts))
    with Stop(aloud=not options.quiet) as stop:
        with open_outputs(options, request, stop.asked, stdout, reporter.note) as pump:
            reporter.plan(request, options.outputs)
            with stop.at_once():
                session = _session(_load(options, reporter), request)
            pace = _run(session, request, pump, reporter, stop)
        for line in closing_lines(pace, options.outputs):
            reporter.note(line)
        return stop.exit_code


def _reporter(quiet: bool) -> Reporter:
    if quiet:
        return Silent()
    console = Console(stderr=True)
    return LiveDisplay(console) if console.is_terminal else Lines(console)


def _load(options: Options, reporter: Reporter) -> Engine:
    reporter.note(f"loading {options.model}")
    begun = time.perf_counter()
    engine = model.load(options.model, options.device, options.dtype, options.parts)
    seconds = time.perf_counter() - begun
    dtype = str(engine.dtype).removeprefix("torch.")
    reporter.note(f"loaded in {seconds:.1f} s, on {engine.device} in {dtype}")
    return engine


def _session(engine: Engine, request: Request) -> Session:
    return engine.session(
        request.timeline.prompt_at(0) + request.prompt_suffix,
        seed=request.seed,
        height=request.height,
        width=request.width,
        block_frames=request.plan.block_frames,
        timesteps=request.timesteps,
        solver=request.solver,
        guidance=request.guidance,
        negative_prompt=request.negative_prompt,
        memory=request.memory,
    )


def _run(session: Session, request: Request, pump: Pump, reporter: Reporter, stop: Stop) -> Pace:
    """Blocks from the session to the pump, until the video is whole or somebody ends it."""
    pace = Pace(float(request.fps), request.frames, request.blocks)
    begun = time.perf_counter()
    with reporter.running(pace):
        for block in _blocks(session, request, reporter):
            wanted = pump.write(block)
            stats, spent = block.stats, time.perf_counter() - begun
            pace = pace.after(
                len(block.frames), spent, stats.memory_bytes, stats.peak_memory_bytes, block.prompt
            )
            reporter.block(pace)
            if not wanted or stop.asked.is_set():
                break
    return pace


def _blocks(session: Session, request: Request, reporter: Reporter) -> Iterator[Block]:
    """The video's blocks, each under the prompt of its time, the last one cut to the length.

    A block carries the prompt as the story has it, without what the model wants behind it.
    """
    shown = request.timeline.prompt_at(0)
    while request.frames is None or session.next_start < request.frames:
        start = session.next_start
        prompt = request.timeline.prompt_at(start)
        if prompt != shown:
            shown = prompt
            session.switch(prompt + request.prompt_suffix)
            reporter.switch(prompt, start, request.seconds_of(start))
        block = next(session)
        end = None if request.frames is None else request.frames - start
        yield replace(block, frames=block.frames[:end], prompt=prompt)
