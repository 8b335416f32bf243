"""A video from what is asked for: the model loaded, the outputs opened, the run made."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console

from sana_stream.cli.console import (
    PlainReporter,
    QuietReporter,
    Reporter,
    TerminalReporter,
    closing_lines,
    story_notes,
)
from sana_stream.cli.log_handler import show_log
from sana_stream.cli.options import Options
from sana_stream.cli.signals import SignalHandler
from sana_stream.engine.story.story import Story
from sana_stream.streaming.outputs.locks import OutputLocks
from sana_stream.streaming.run.checkpoints import Checkpoints
from sana_stream.streaming.run.config import Job, Request, resolve_request
from sana_stream.streaming.run.inputs import (
    VideoStart,
    check_pictures,
    read_video_start,
    with_first_picture,
)
from sana_stream.streaming.run.live import open_live
from sana_stream.streaming.run.outputs import prepare_outputs

from . import model

if TYPE_CHECKING:
    from sana_stream.engine.engine import Engine
    from sana_stream.engine.loading.inspect import ModelInfo


def generate(options: Options, stdout: int | None) -> int:
    """Make the video that is asked for; returns the exit code.

    `stdout` is the descriptor for video on standard output, where one is asked for. Raises the
    library's errors as they come.
    """
    return generate_job(Job(options, with_first_picture(options, options.story())), stdout)


def generate_job(
    job: Job,
    stdout: int | None,
    locks: OutputLocks | None = None,
    notes: Sequence[str] = (),
) -> int:
    """Make a job's video, from its beginning or from where a checkpoint stands.

    Everything is read and checked first, and every output locked; what is there changes only when
    the first block comes. `locks` are those that are held already, `notes` what is to be said.
    """
    options = job.options
    reporter = _reporter(options)
    for line in notes:
        reporter.note(line)
    described = model.describe(options.model, options.parts, options.decoder, options.loras)
    beginning = VideoStart()
    with SignalHandler(announce=not options.quiet) as stop, ExitStack() as opened:
        opened.enter_context(show_log(reporter.note, logging.INFO))
        if locks is None:
            locks = opened.enter_context(OutputLocks())
        if job.saved is None:
            beginning = read_video_start(options, described, reporter.note)
            job = replace(job, first_block=beginning.blocks)
        if not job.kept:
            job = job.with_new_id()
        plan = partial(_plan, job, described, reporter)
        request = plan(job.story)
        checkpoints = opened.enter_context(Checkpoints(job, reporter.note, locks))
        prepared = opened.enter_context(
            prepare_outputs(job, request, locks, stop.requested, stdout)
        )
        live = opened.enter_context(open_live(options, request, plan, reporter, stop.requested))
        reporter.plan(request, options.outputs)
        with stop.interruptible():
            engine = load_engine(options, reporter)
            from sana_stream.engine.cpu import limit_threads
            from sana_stream.streaming.run.runner import begin_session, run_stream  # needs torch

            session = begin_session(engine, request, job, beginning)
        job = replace(job, saved=None)  # its tensors are in the session now
        with (
            prepared.started(live and live.feed) as pump,
            limit_threads(engine.device, stages=1 if live else 2),
        ):
            progress = run_stream(
                job, request, engine, session, pump, checkpoints, reporter, live, stop.requested
            )
        opened.close()
        if progress.frames == job.kept:
            stop.check()
        for line in closing_lines(progress, options.files):
            reporter.note(line)
        return stop.exit_code


def _plan(job: Job, described: ModelInfo, reporter: Reporter, story: Story) -> Request:
    request = resolve_request(job.options, story, described, job.first_block, job.shot)
    for line in story_notes(story, request):
        reporter.note(line)
    check_pictures(request, reporter.note, job.kept)
    return request


def load_engine(options: Options, reporter: Reporter) -> Engine:
    """The model that is asked for, ready to run."""
    reporter.note(f"loading {options.model}")
    begun = time.perf_counter()
    engine = model.load(
        options.model,
        options.device,
        options.dtype,
        parts=options.parts,
        loras=options.loras,
        decode_frames=options.decode_frames,
        decoder=options.decoder,
        quantize=options.quantize,
        quantize_text=options.quantize_text,
    )
    if options.compile:
        from sana_stream.engine.performance.compile import compile_networks

        compile_networks(engine)
    if options.graphs:
        _record(engine, options, reporter)
    seconds = time.perf_counter() - begun
    dtype = str(engine.dtype).removeprefix("torch.")
    reporter.note(f"loaded in {seconds:.1f} s, on {engine.device} in {dtype}")
    return engine


def _record(engine: Engine, options: Options, reporter: Reporter) -> None:
    from sana_stream.engine.performance.cuda_graphs import capture_graphs

    if engine.device.type != "cuda":
        reporter.note(f"no graphs: they need a CUDA device, this is {engine.device}")
        return
    width, height = options.size or (None, None)
    capture_graphs(engine, height, width, options.block_frames)


def _reporter(options: Options) -> Reporter:
    if options.quiet:
        return QuietReporter()
    console = Console(stderr=True)
    moving = console.is_terminal and not options.interactive  # it would move what is being typed
    return TerminalReporter(console) if moving else PlainReporter(console)
