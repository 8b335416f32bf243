"""One run: a story made into a video, delivered to its outputs and directed while it lasts."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sana_stream.engine.story.story import Story, format_time
from sana_stream.errors import ConfigError
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.outputs.locks import OutputLocks

from .blocks import VideoBlocks
from .clip import check_page
from .config import RunConfig
from .delivery import RunDelivery
from .inputs import VideoStart, check_pictures, read_video_start
from .messages import story_notes
from .model import RunModel, describe
from .moments import Moments
from .notebook import DisplayedRun
from .plan import (
    NEW_VIDEO,
    RunOrigin,
    RunPlan,
    resolve_plan,
    size_notes,
    with_first_image,
    with_size,
)
from .progress import Progress
from .resume import Continuation, branch_run, resume_run
from .served import ServedOutputs
from .start import begin_session, schedule_prompts, watch_drift
from .stored import with_engine, with_new_id

if TYPE_CHECKING:
    from sana_stream.engine.engine import Engine
    from sana_stream.engine.session.session import Session
    from sana_stream.streaming.outputs.base import Output

logger = logging.getLogger(__name__)


class Run(DisplayedRun):
    """Makes one video, block by block, and delivers it to its outputs.

    The configuration, the story, the model's settings and all inputs are checked when the run is
    created, the outputs when it is entered; no file changes before the first block. Iterating over
    an entered run yields a `Progress` after each block. Leaving the context completes the outputs,
    so that they play, and brings the checkpoint up to date, also after `break` and after an
    exception such as `KeyboardInterrupt`. What a user should know is logged under
    `sana_stream.streaming`; nothing is printed and no signal handler is installed.

        with Run(engine, RunConfig(story="story.txt", outputs=["story.mp4"])) as run:
            for progress in run:
                if progress.seconds > 30:
                    run.control.prompt("night falls")

    Attributes:
        config: what was asked for.
        plan: the same, resolved: size, length, blocks, and where each prompt is shown.
        control: directs the run from any thread: prompts, seed, rewind, pause, end.
        progress: the newest record.
        block: the newest block, with its frames; None before the first one.
        moments: save one of its moments, from which `branch` begins another video.
        locks: those of the run's files, which outputs that the caller opens share.

    Args:
        engine: a loaded model. None: the run loads the one that the configuration names, after
            everything has been checked. Checkpoints name the model, device and dtype of the engine
            where the configuration leaves them at their defaults.
        config: what to make.
        control: takes the prompts and commands that direct the run. Default: a new one.
        stdout: the descriptor for video on standard output, as `claim_stdout` returned it.

    Raises:
        ConfigError: a setting that the model or this machine cannot take.
        StoryError: a story that cannot be read or does not fit the video.
        CheckpointError: the model's files are damaged.
    """

    def __init__(
        self,
        engine: Engine | None,
        config: RunConfig,
        *,
        control: LiveControl | None = None,
        stdout: int | None = None,
    ) -> None:
        if not isinstance(config, RunConfig):
            raise ConfigError("config: give a RunConfig, such as RunConfig(story='story.txt')")
        config.check()
        story = with_first_image(config, config.read_story())
        if engine is not None and config.checkpoint:
            config = with_engine(config, engine)
        model = describe(engine, config)
        check_page(config, model)
        self._prepare(model, config, story, NEW_VIDEO, None, control, stdout)
        for line in size_notes(config, model):
            logger.warning("%s", line)

    @classmethod
    def resume(
        cls,
        engine: Engine | None,
        video: str | os.PathLike[str],
        outputs: Sequence[str | os.PathLike[str]] = (),
        *,
        control: LiveControl | None = None,
        stdout: int | None = None,
        **changes: Any,
    ) -> Self:
        """Continue a video that was interrupted.

        The complete video equals an uninterrupted one: the files are cut to the checkpoint's frame
        and continued. Another process cannot resume the video meanwhile.

        Args:
            engine: a loaded model, the one that the video was made with. None: it is loaded.
            video: the video, or its checkpoint.
            outputs: URLs, `-` and files in other folders that the run had; continued only if given
                again, because a checkpoint may come from a stranger.
            control: takes the prompts and commands that direct the run. Default: a new one.
            stdout: as for `Run`.
            **changes: other parameters of `RunConfig` that differ from the interrupted run's:
                `container, sign, directed, interactive, watch, web, host, token, history, realtime,
                model, device, dtype, devices, parallel`. Page and watched file must be given again.

        Raises:
            ConfigError: there is no checkpoint, no video, or a parameter that cannot change.
            SnapshotError: the checkpoint is damaged or of another model.
            InvalidOutputError: another run is writing the video.
        """
        found = resume_run(engine, video, outputs, changes)
        return cls._continued(found, control, stdout)

    @classmethod
    def branch(
        cls,
        engine: Engine | None,
        checkpoint: str | os.PathLike[str],
        /,
        *,
        control: LiveControl | None = None,
        stdout: int | None = None,
        **parameters: Any,
    ) -> Self:
        """Make another video, whose first frame follows the last one of a checkpoint.

        Args:
            engine: a loaded model, the one that the checkpoint was made with. None: it is loaded.
            checkpoint: the checkpoint, or the video that it belongs to.
            control, stdout: as for `resume`.
            **parameters: those of `RunConfig`; `outputs` are needed, `story` is the checkpoint's
                current prompt unless it is given. Size, block length, sampling, memory and, unless
                it is given, the seed are the checkpoint's.

        Raises:
            ConfigError: there is no checkpoint, or an output is the video that is branched.
            SnapshotError: the checkpoint is damaged or of another model.
        """
        return cls._continued(branch_run(engine, checkpoint, parameters), control, stdout)

    @classmethod
    def _continued(
        cls, found: Continuation, control: LiveControl | None, stdout: int | None
    ) -> Self:
        try:
            return cls.planned(
                *(found.model, found.config, found.story, found.origin),
                locks=found.locks,
                control=control,
                stdout=stdout,
            )
        except BaseException:
            if found.locks is not None:
                found.locks.release_all()
            raise

    @classmethod
    def planned(
        cls,
        model: RunModel,
        config: RunConfig,
        story: Story,
        origin: RunOrigin = NEW_VIDEO,
        *,
        locks: OutputLocks | None = None,
        control: LiveControl | None = None,
        stdout: int | None = None,
    ) -> Self:
        """A run of a described model, which may begin at a checkpoint.

        Args:
            model: as `describe` returns it.
            config: what to make; its values are not checked against each other.
            story: its story, read.
            origin: where the run begins.
            locks: those that are held already; the run releases them.
            control, stdout: as for `Run`.
        """
        self = cls.__new__(cls)
        self._prepare(model, config, story, origin, locks, control, stdout)
        return self

    def _prepare(
        self,
        model: RunModel,
        config: RunConfig,
        story: Story,
        origin: RunOrigin,
        locks: OutputLocks | None,
        control: LiveControl | None,
        stdout: int | None,
    ) -> None:
        clip, config = VideoStart(), with_size(config, model)
        if origin.saved is None:
            clip = read_video_start(config, model)
            origin = replace(origin, first_block=clip.blocks)
        self.config = config
        self.control = control or LiveControl()
        self.locks = OutputLocks() if locks is None else locks
        self._model, self._clip, self._origin = model, clip, origin
        self._delivery = RunDelivery(self.control, self.locks, self._resolve, stdout)
        plan = self._resolve(story, config)
        self.plan = plan if origin.frames else with_new_id(plan)
        done = plan.blocks.blocks_for(origin.frames) if origin.frames else 0
        self.progress = Progress(
            *(float(plan.fps), plan.frames, plan.block_count, done, origin.frames),
            resumed_frames=origin.frames,
        )
        self.block = None
        self.moments = Moments(plan)
        self._entered = False
        self._opened: ExitStack | None = None  # between `__enter__` and `__exit__`
        self._session: Session | None = None
        self._generated: Generator[Progress] | None = None

    def _resolve(self, story: Story, config: RunConfig) -> RunPlan:
        """A story on the run's blocks, with its pictures checked; also called for a changed one."""
        plan = resolve_plan(config, story, self._model, self._origin)
        for line in story_notes(plan):
            logger.warning("%s", line)
        check_pictures(plan, self._origin.frames)
        return plan

    def use_outputs(self, outputs: Sequence[Output], files: Sequence[str] = ()) -> None:
        """Deliver the video to outputs that the caller has opened, in place of the configuration's.

        To be called before the run is entered. The run closes them.

        Args:
            outputs: as `open_output` returns them.
            files: their paths; `/branch` saves its checkpoints next to the first one.
        """
        self._delivery.use_outputs(outputs)
        self.config = replace(self.config, outputs=files)
        self.plan = replace(self.plan, config=self.config)

    def use_served(self, served: ServedOutputs) -> None:
        """As `use_outputs`, with what a server has opened, whose page directs the run."""
        self.use_outputs(served.outputs, served.files)
        self._delivery.use_served(served)

    def finish(self) -> None:
        """Take the video as complete, whatever its length: it leaves no checkpoint."""
        self._delivery.finish()

    def __enter__(self) -> Self:
        """Check, lock and open every output; with a loaded model, begin the stream.

        Raises:
            InvalidOutputError: an output that cannot be opened, or that another run writes.
            ConfigError: a checkpoint or another file has the place of an output.
        """
        if self._entered:
            raise ConfigError("a run is entered once: make another Run for another video")
        self._entered = True
        with ExitStack() as opened:
            self._delivery.open(opened, self.config, self.plan)
            if self._model.engine is not None:
                self.load()
            self._opened = opened.pop_all()
        return self

    def load(self) -> None:
        """Load the model, unless one was given, and begin the stream.

        The first step of the iteration calls this where it was not called before.

        Raises:
            SnapshotError: the checkpoint is of another model.
            CheckpointError: the model's files cannot be loaded.
        """
        if self._session is not None:
            return
        engine = self._model.load(self.config)
        if self._model.engine is None and self._opened is not None:
            self._opened.callback(engine.close)
        self._model = replace(self._model, engine=engine)
        session = begin_session(engine, self.plan, self._clip)
        self._session = self._delivery.attach(session)
        self._origin = replace(self._origin, saved=None)  # its tensors are the session's now
        self.plan = replace(self.plan, origin=self._origin)

    def __iter__(self) -> Iterator[Progress]:
        return self

    def __next__(self) -> Progress:
        """Make and deliver one more block."""
        if self._opened is None:
            raise ConfigError("the run is not entered: write `with Run(...) as run:`")
        if self._generated is None:
            self.load()
            self._generated = self._generate()
        return next(self._generated)

    def _generate(self) -> Generator[Progress]:
        plan, session, stop = self.plan, self._session, self.control.stop
        engine, opened = self._model.engine, self._opened
        assert engine is not None
        assert session is not None
        assert opened is not None
        pump, checkpoints = self._delivery.begin(opened, engine)
        if self._generated is not None:
            opened.callback(self._generated.close)
        prompts = schedule_prompts(engine, plan, session, self._delivery.live, stop)
        guard = watch_drift(engine, plan, session)
        if at := plan.origin.frames:
            logger.info("continuing from frame %d (%s)", at, format_time(plan.seconds_of(at)))
        begun, take = time.perf_counter(), pump.write_part
        with closing(VideoBlocks(plan, session, prompts, stop, take).generate()) as blocks:
            for block in blocks:
                wanted = pump.write(block)
                note = guard.check(block)
                self.progress = self.progress.after(block, time.perf_counter() - begun, guard.drift)
                self.block = block
                self.moments.on_block(self.progress.frames, session)
                prompts.on_delivered(block)
                if note is not None:
                    logger.warning("%s", note)
                snapshot = guard.with_reference(session.snapshot())
                checkpoints.on_block(self.progress.frames, snapshot, prompts.plan)
                yield self.progress
                if not wanted or stop.is_set():
                    return

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Complete the outputs, then remove the checkpoint of a complete video or update it.

        Raises:
            OutputError: an output failed that the run cannot do without.
        """
        opened, self._opened = self._opened, None
        assert opened is not None
        if self.progress.complete:
            self.finish()
        opened.__exit__(kind, error, trace)
