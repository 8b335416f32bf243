"""A run with everything that is open for it: the session begun or gone on with, blocks made."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from threading import Event
from typing import TYPE_CHECKING

from sana_stream.cli.console import Reporter
from sana_stream.engine.session.drift import DriftGuard
from sana_stream.engine.story.story import format_time
from sana_stream.errors import ConfigError
from sana_stream.streaming.control.pacing import RealtimePacer
from sana_stream.streaming.video_format import VideoFormat

from .checkpoint_files import SUFFIX, checkpoint_path
from .checkpoints import Checkpoints
from .config import Job, Request
from .inputs import VideoStart, read_picture
from .live import LiveSession
from .progress import Progress
from .prompt_check import PromptCheck, log_once_here
from .prompts import PromptScheduler

if TYPE_CHECKING:
    from sana_stream.engine.block import Block
    from sana_stream.engine.engine import Engine
    from sana_stream.engine.session.session import Session
    from sana_stream.streaming.outputs.pump import OutputPump


@dataclass(frozen=True, slots=True)
class Runner:
    """Everything that takes part in one run."""

    request: Request
    kept: int  # frames of an earlier run
    session: Session
    prompts: PromptScheduler
    guard: DriftGuard
    pump: OutputPump
    checkpoints: Checkpoints
    reporter: Reporter
    stop: Event

    def run(self) -> Progress:
        """Make the video; how it went."""
        request, kept = self.request, self.kept
        before = 0 if not kept else request.plan.blocks_for(kept)
        progress = Progress(
            float(request.fps), request.frames, request.blocks, before, kept, kept=kept
        )
        if kept:
            self.reporter.note(
                f"going on from frame {kept} ({format_time(request.seconds_of(kept))})"
            )
        begun = time.perf_counter()
        with self.reporter.running(progress), closing(self._blocks()) as blocks:
            for block in blocks:
                wanted = self.pump.write(block)
                said = self.guard.check(block)
                progress = progress.after(block, time.perf_counter() - begun, self.guard.drift)
                self.reporter.block(progress)
                self.prompts.on_delivered(block)
                if said is not None:
                    self.reporter.note(said)
                snapshot = self.guard.with_reference(self.session.snapshot())
                self.checkpoints.on_block(progress.frames, snapshot)
                if not wanted or self.stop.is_set():
                    break
        if progress.frames == request.frames:
            self.checkpoints.finish()
        return progress

    def _blocks(self) -> Generator[Block]:
        """The video's blocks, each under the prompt of its time, the last one cut to the length.

        A block carries the prompt as the story has it, without what the model wants behind it, and
        begins at its place in the video.
        """
        request = self.request
        with closing(self._made()) as made:
            while request.frames is None or self._next_frame < request.frames:
                self.prompts.wait()
                if self.stop.is_set():
                    return
                start, begun = self._next_frame, time.perf_counter()
                block = next(made)
                self.prompts.on_block(len(block.frames), time.perf_counter() - begun)
                end = None if request.frames is None else request.frames - start
                prompt = block.prompt.removesuffix(request.prompt_suffix)
                yield replace(block, start=start, frames=block.frames[:end], prompt=prompt)

    def _made(self) -> Generator[Block]:
        """The session's blocks: two at once where nobody can interfere, else one by one."""
        from sana_stream.engine.session.lookahead import generate_ahead

        if self.prompts.live:
            return self._directed()
        frames, offset = self.request.frames, self._offset
        end = None if frames is None else frames + offset
        return generate_ahead(
            self.session,
            lambda start: self._prompt_at(start - offset),
            end,
            lambda start: self.prompts.picture_at(start - offset),
            lambda start: self.prompts.negative_at(start - offset),
        )

    def _directed(self) -> Generator[Block]:
        while True:
            self.prompts.apply(self.session, self._next_frame)
            yield next(self.session)

    def _prompt_at(self, frame: int) -> str:
        return self.prompts.prompt_at(frame) + self.request.prompt_suffix

    @property
    def _next_frame(self) -> int:
        """The video's next frame."""
        return self.session.next_start - self._offset

    @property
    def _offset(self) -> int:
        """The stream's frame that is the video's first: it may begin in the middle of the stream,
        and the stream may have been taken back since."""
        return self.request.first_frame - self.prompts.shift


BRANCH_SPARE = 200 << 20  # bytes left free for everybody else


@log_once_here()
def run_stream(
    job: Job,
    request: Request,
    engine: Engine,
    session: Session,
    pump: OutputPump,
    checkpoints: Checkpoints,
    reporter: Reporter,
    live: LiveSession | None,
    stop: Event,
) -> Progress:
    """Make the rest of a job's video with a session of `begin_session`."""
    checkpoints.begin(engine, lambda: pump.saved_frames)
    if live is not None:
        session.keep_history(job.options.history * float(request.fps) / engine.preset.fps)
    keep = partial(keep_branch, job)
    picture = partial(read_picture, request=request, note=lambda line: None)
    check = PromptCheck(engine.text_encoder, reporter.note)
    check.story(request)
    director = PromptScheduler(
        request, reporter, picture, live, _pace(job, request, stop), keep, check
    )
    if job.kept:
        director.shift = job.kept - session.next_start + request.first_frame
        director.resume_at(session.prompt, job.kept - session.last_frames)
    clip = job.first_block > 0 and not job.kept
    given = clip or request.timeline.cues[0].image is not None
    guard = DriftGuard(session, engine, job.options.guard, given=given)
    run = Runner(request, job.kept, session, director, guard, pump, checkpoints, reporter, stop)
    return run.run()


def begin_session(engine: Engine, request: Request, job: Job, beginning: VideoStart) -> Session:
    """The stream from its beginning, from a clip, or from where a checkpoint stands.

    Raises:
        SnapshotError: the checkpoint is of another model.
    """
    if job.saved is not None:
        snapshot = job.saved.restore(engine)
        settings = replace(snapshot.settings, seed=request.seed)  # a branch may have its own
        return engine.session_from(replace(snapshot, settings=settings))
    return engine.session(
        request.timeline.prompt_at(0) + request.prompt_suffix,
        seed=request.seed,
        height=request.height,
        width=request.width,
        block_frames=request.plan.block_frames,
        timesteps=request.timesteps,
        steps=request.steps,
        solver=request.solver,
        flow_shift=request.flow_shift,
        guidance=request.guidance,
        negative_prompt=request.negative_prompt,
        memory=request.memory,
        video=beginning.video,
    )


def keep_branch(job: Job, session: Session, name: str) -> str:
    """Keep a moment of a run as a checkpoint beside its video; what is to be said of it.

    Raises:
        ConfigError: there is a file of this name, no video beside which it could stand, or too
            little room.
        SnapshotError: it cannot be written.
    """
    own = checkpoint_path(job.options.outputs)
    if own is None:
        raise ConfigError(
            "/branch: this run keeps no video beside which the moment could stand: begin it with"
            " --out film.mp4, or serve with --record films"
        )
    path = own.with_name(name + SUFFIX)
    if path.name.casefold() == own.name.casefold():
        raise ConfigError(f"{path} is the run's own checkpoint: give another name")
    try:
        if shutil.disk_usage(path.parent).free < BRANCH_SPARE:
            raise ConfigError(f"/branch: less than 200 MiB are free in {path.parent}")
        path.open("xb").close()  # nobody else can get the name meanwhile
    except FileExistsError as error:
        raise ConfigError(f"{path} exists: give another name") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"{path} cannot be written: {reason}") from error
    try:
        session.save(path, {"run": job.to_json()})
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return f"kept: sana-stream branch {shlex.quote(str(path))} --prompt TEXT --out FILE"


def _pace(job: Job, request: Request, stop: Event) -> RealtimePacer | None:
    if not job.options.paced:
        return None
    return RealtimePacer(VideoFormat(request.width, request.height, request.fps), stop)
