"""A video from what is asked for: the model loaded, the outputs opened, the run made."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console

from . import model
from .checkpoints import Checkpoints
from .job import Job
from .live import LiveDisplay
from .options import Options
from .outputs import open_outputs
from .reporter import Lines, Reporter, Silent
from .request import Request, make_request
from .run import Run
from .stop import Stop
from .words import closing_lines

if TYPE_CHECKING:
    from pathlib import Path

    from ..engine.engine import Engine
    from ..engine.guard import Guard
    from ..engine.session import Session


def generate(options: Options, stdout: int | None) -> int:
    """Make the video that is asked for; returns the exit code.

    `stdout` is the descriptor for video on standard output, where one is asked for. Raises the
    library's errors as they come.
    """
    return produce(Job(options, options.story()), stdout)


def produce(job: Job, stdout: int | None) -> int:
    """Make a job's video, from its beginning or from where a checkpoint stands."""
    options = job.options
    reporter = _reporter(options.quiet)
    described = model.describe(options.model, options.parts)
    request = make_request(options, job.story, described, job.first_block)
    with Stop(aloud=not options.quiet) as stop:
        with (
            Checkpoints(job, reporter.note) as checkpoints,
            open_outputs(options, request, stop.asked, stdout, reporter.note, job.kept) as pump,
        ):
            reporter.plan(request, options.outputs)
            with stop.at_once():
                engine = _load(options, reporter)
                session = _session(engine, request, job.checkpoint)
            checkpoints.begin(engine, lambda: pump.kept)
            guard = _guard(session, engine, options.guard)
            pace = Run(request, job.kept, session, guard, pump, checkpoints, reporter, stop).go()
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


def _session(engine: Engine, request: Request, checkpoint: Path | None) -> Session:
    if checkpoint is not None:
        return _session_from(engine, request, checkpoint)
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


def _session_from(engine: Engine, request: Request, checkpoint: Path) -> Session:
    """Where the checkpoint stands; a branch may take another seed from there."""
    from ..engine.snapshot_file import load_snapshot

    snapshot = load_snapshot(checkpoint, engine)
    settings = replace(snapshot.settings, seed=request.seed)
    return engine.session_from(replace(snapshot, settings=settings))


def _guard(session: Session, engine: Engine, action: str) -> Guard:
    from ..engine.guard import Guard

    return Guard(session, engine, action)
