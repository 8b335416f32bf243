"""Beginning the stream of a run, and saving moments of it as checkpoints of their own."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from threading import Event
from typing import TYPE_CHECKING

from sana_stream._prompts import add_suffix
from sana_stream._text import os_reason
from sana_stream.errors import ConfigError
from sana_stream.streaming.control.pacing import RealtimePacer

from .checkpoint_files import SUFFIX, checkpoint_path
from .disk_space import SPARE_TEXT, is_full
from .inputs import VideoStart, read_picture
from .live import LiveSession
from .plan import RunPlan
from .prompt_check import PromptCheck, log_once_here
from .prompts import PromptScheduler
from .stored import run_to_json

if TYPE_CHECKING:
    from sana_stream.engine.engine import Engine
    from sana_stream.engine.session.drift import DriftGuard
    from sana_stream.engine.session.session import Session
    from sana_stream.streaming.outputs.base import Output
    from sana_stream.streaming.outputs.pump import OutputPump


def begin_session(engine: Engine, plan: RunPlan, clip: VideoStart) -> Session:
    """The stream from its beginning, from a clip, or from a checkpoint.

    Raises:
        SnapshotError: the checkpoint is of another model.
    """
    config, saved = plan.config, plan.origin.saved
    if saved is not None:
        snapshot = saved.restore(engine)
        settings = replace(snapshot.settings, seed=config.seed)  # a branch may have its own
        return engine.session_from(replace(snapshot, settings=settings))
    return engine.session(
        add_suffix(plan.timeline.prompt_at(0), plan.prompt_suffix),
        negative_prompt=plan.negative_prompt,
        video=clip.video,
        settings=plan.settings,
    )


def open_pump(
    opened: ExitStack, engine: Engine, outputs: Sequence[Output], live: LiveSession | None
) -> OutputPump:
    """What delivers a run's blocks to its outputs and to its page, until `opened` is closed."""
    from sana_stream.engine.cpu import limit_threads
    from sana_stream.streaming.outputs.pump import OutputPump

    feeds = list(outputs) if live is None or live.feed is None else [live.feed, *outputs]
    opened.enter_context(log_once_here())
    opened.enter_context(limit_threads(engine.device, stages=1 if live else 2))

    def on_write(output: Output, seconds: float) -> None:
        if live is not None and live.status is not None:
            live.status.on_stage("encode" if output is live.feed else "record", seconds)

    return opened.enter_context(OutputPump(feeds, on_write))


def schedule_prompts(
    engine: Engine, plan: RunPlan, session: Session, live: LiveSession | None, stop: Event
) -> PromptScheduler:
    """What finds each block's prompt, at the video's next frame."""
    if live is not None:
        session.keep_history(plan.config.history * float(plan.fps) / engine.preset.fps)
    check = PromptCheck(engine.text_encoder)
    check.story(plan)
    pace = RealtimePacer(plan.video_format, stop) if plan.config.paced else None
    picture, keep = partial(read_picture, plan=plan), partial(save_moment, plan, live)
    prompts = PromptScheduler(plan, picture, live, pace, keep, check)
    if frames := plan.origin.frames:
        prompts.rewound_frames = frames - session.next_start + plan.first_frame
        prompts.resume_at(session.prompt, frames - session.last_frames)
    return prompts


def watch_drift(engine: Engine, plan: RunPlan, session: Session) -> DriftGuard:
    """The guard that compares the session's blocks with the first ones under their prompt."""
    after_clip = plan.origin.first_block > 0 and not plan.origin.frames
    given = after_clip or plan.timeline.cues[0].image is not None
    return engine.drift_guard(session, plan.config.guard, given)


def save_moment(plan: RunPlan, live: LiveSession | None, session: Session, name: str) -> str:
    """Save a moment of a run as a checkpoint next to its video; returns a line about it.

    Raises:
        ConfigError: a file of this name exists, the run writes no video file, or the disk has too
            little space.
        SnapshotError: the checkpoint cannot be written.
    """
    own = checkpoint_path(plan.config.targets)
    if own is None or (live is not None and not live.keeps_files):
        raise ConfigError(
            "/branch: this run writes no video that stays, and a checkpoint is saved next to one:"
            " begin it with outputs=['film.mp4'], or record the streams of a server"
        )
    path = own.with_name(name + SUFFIX)
    if path.name.casefold() == own.name.casefold():
        raise ConfigError(f"{path} is the run's own checkpoint: give another name")
    try:
        if is_full(path.parent):
            raise ConfigError(f"/branch: less than {SPARE_TEXT} are free in {path.parent}")
        path.open("xb").close()  # no other program can get the name meanwhile
    except FileExistsError as error:
        raise ConfigError(f"{path} exists: give another name") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {os_reason(error)}") from error
    try:
        session.save(path, {"run": run_to_json(plan)})
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return f"kept: sana-stream branch {shlex.quote(str(path))} --prompt TEXT --out FILE"
