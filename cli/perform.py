"""A run with everything that is open for it: the session begun or gone on with, blocks made."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import replace
from functools import partial
from threading import Event
from typing import TYPE_CHECKING

from ..engine.guard import Guard
from ..models.errors import ConfigError
from ..streaming.format import VideoFormat
from ..streaming.pace import Pace
from .beginning import Beginning, read_picture
from .checkpoint_files import SUFFIX, checkpoint_path
from .checkpoints import Checkpoints
from .director import Director
from .job import Job
from .live import Live
from .progress import Progress
from .prompt_check import PromptCheck, told_here
from .reporter import Reporter
from .request import Request
from .run import Run

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from ..engine.session import Session
    from ..streaming.pump import Pump

BRANCH_SPARE = 200 << 20  # bytes left free for everybody else


@told_here()
def perform(
    job: Job,
    request: Request,
    engine: Engine,
    session: Session,
    pump: Pump,
    checkpoints: Checkpoints,
    reporter: Reporter,
    live: Live | None,
    stop: Event,
) -> Progress:
    """Make the rest of a job's video with a session of `begin_session`."""
    checkpoints.begin(engine, lambda: pump.kept)
    if live is not None:
        session.keep_history(job.options.history * float(request.fps) / engine.preset.fps)
    keep = partial(keep_branch, job)
    picture = partial(read_picture, request=request, note=lambda line: None)
    check = PromptCheck(engine.text_encoder, reporter.note)
    check.story(request)
    director = Director(request, reporter, picture, live, _pace(job, request, stop), keep, check)
    if job.kept:
        director.shift = job.kept - session.next_start + request.origin
        director.go_on(session.prompt, job.kept - session.last_frames)
    clip = job.first_block > 0 and not job.kept
    given = clip or request.timeline.cues[0].image is not None
    guard = Guard(session, engine, job.options.guard, given=given)
    run = Run(request, job.kept, session, director, guard, pump, checkpoints, reporter, stop)
    return run.go()


def begin_session(engine: Engine, request: Request, job: Job, beginning: Beginning) -> Session:
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


def _pace(job: Job, request: Request, stop: Event) -> Pace | None:
    if not job.options.paced:
        return None
    return Pace(VideoFormat(request.width, request.height, request.fps), stop)
