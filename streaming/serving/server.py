"""A server: one engine, a queue of jobs, and threads that make their streams."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Event, Thread, current_thread

from sana_stream._text import safe_text
from sana_stream.engine.story.read import parse_story
from sana_stream.errors import ConfigError, JobError
from sana_stream.streaming.control.job_queue import JobQueue, StreamJob
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.run.config import RunConfig
from sana_stream.streaming.run.live import LivePage
from sana_stream.streaming.run.model import describe_files
from sana_stream.streaming.run.plan import (
    check_settings,
    resolve_plan,
    size_notes,
    with_size,
)
from sana_stream.streaming.run.recordings import Recordings
from sana_stream.streaming.web.fleet import FleetStatus
from sana_stream.streaming.web.options import NO_OPTIONS, WebOptions

from .kept_jobs import KeptJobs
from .recorded import Sounds
from .reporters import ServerReporter
from .shared_device import Device, OneStreamDevice, SharedDevice
from .stream import StreamMaker

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How a server makes its streams.

    Args:
        streams: the most that run at the same time, at least 1.
        overcommit: run them where they are slower than they play.
        resume: continue the streams of an earlier server in the same folder.
        web: keys, origins and root path of the page.
    """

    streams: int = 1
    overcommit: bool = False
    resume: bool = True
    web: WebOptions = NO_OPTIONS


class StreamServer:
    """Makes the streams of a queue with one engine, several at the same time.

    Args:
        config: what all streams have in common.
        reporter: shows each stream.
        recordings: the files of the streams.
        stop: set when serving is to end.
        options: how streams are made.
        files: keep the streams that have not ended; None: they are lost at the end.

    Raises:
        ConfigError, CheckpointError: the model cannot be used.
    """

    def __init__(
        self,
        config: RunConfig,
        reporter: ServerReporter,
        recordings: Recordings,
        stop: Event,
        options: ServerOptions = ServerOptions(),
        files: KeptJobs | None = None,
    ) -> None:
        self._reporter = reporter
        self._recordings = recordings
        self._stop = stop
        self._options = options
        self._files = files
        self._sounds = Sounds()
        self._model = describe_files(config)
        self._config = with_size(config, self._model)
        for line in size_notes(config, self._model):
            reporter.note(line)
        self._jobs = JobQueue(self._check, recordings.first_id(), files, recordings.forget)
        self._device: Device = OneStreamDevice()
        self._fleet: FleetStatus | None = None
        self._serving = False

    @contextmanager
    def page(self) -> Iterator[None]:
        """Serve the page, which submits jobs, inside the context."""
        config = self._config
        page = (config.host, config.web or 0, config.token, self._jobs, self._fleet)
        with LivePage(*page, self._options.web, self.unready) as self._page:
            Thread(target=self._end_all, name="end of serving", daemon=True).start()
            yield

    def unready(self) -> str | None:
        """Why no stream could be made now, on a line without names of files; None: one could."""
        if self._stop.is_set():
            return "the server is shutting down"
        if not self._serving:
            return "the model is being loaded"
        if self._recordings.keep and (why := self._recordings.unavailable()) is not None:
            return f"streams cannot be recorded: {why}"
        return self._jobs.refusal()

    def restore(self) -> None:
        """Queue the streams of an earlier server, or drop them; to be called once."""
        if self._files is None:
            return
        jobs = self._files.load()
        if not self._options.resume:
            self._files.drop()
            return
        for job in jobs:
            film = self._files.film(job)
            how = "waits in the queue" if film is None else f"is resumed: {safe_text(film)}"
            logger.info("stream %d of an earlier server %s", job.id, how)
        self._jobs.restore(jobs)

    def submit(self, prompts: Sequence[str]) -> None:
        """Submit a stream of prompts, unless there are none; raises ConfigError."""
        if not prompts:
            return
        try:
            self._jobs.submit({"story": "\n".join(prompts)})
        except JobError as error:
            raise ConfigError(f"--prompt: {error}") from error

    def load(self) -> None:
        """Load the model; raises as `Engine.load`."""
        self._model = replace(self._model, engine=self._model.load(self._config))

    def serve(self) -> None:
        """Make streams until `stop` is set.

        Raises:
            ConfigError: several streams do not fit the device.
        """
        engine, streams = self._model.engine, self._options.streams
        assert engine is not None
        if streams == 1:
            self._run_threads()
            return
        settings, fps = check_settings(self._config, self._model), self._config.fps
        fps = float(engine.preset.fps if fps is None else fps)
        overcommit = self._options.overcommit
        with SharedDevice(engine, streams, settings, fps, overcommit) as self._device:
            self._run_threads()

    def _run_threads(self) -> None:
        """Let each thread make one stream at a time."""
        threads = [
            Thread(target=self._make_streams, name=f"streams {number}", daemon=True)
            for number in range(self._options.streams)
        ]
        for thread in threads:
            thread.start()
        self._serving = True
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)  # in slices, between which a signal can be handled
        if self._files is not None and (left := self._jobs.unfinished()):
            ids = ", ".join(str(job.id) for job in left)
            logger.info(
                "not finished: stream %s; the next server in the same folder continues", ids
            )

    def _make_streams(self) -> None:
        thread = current_thread()
        name = thread.name
        while (found := self._jobs.next(self._stop, self._device.claim)) is not None:
            thread.name = f"stream {found[0].id}"  # for the log
            self._make_stream(*found)
            thread.name = name

    def _make_stream(self, job: StreamJob, control: LiveControl) -> None:
        reporter, failure, keep = self._reporter.stream(job.id), "", False
        if self._stop.is_set():
            self._jobs.interrupt()
        maker = self._maker(job)
        try:
            maker.make(job, self._job_config(job), control, reporter)
        except Exception as error:  # of any kind: the other streams continue
            failure, keep = self._reporter.describe(error), maker.may_be_resumed
            self._page.metrics.on_error(error)
            line = failure if self._options.streams > 1 else f"stream {job.id}: {failure}"
            reporter.failed(line, error)
        finally:
            maker.close()
        self._jobs.end(job, failure, keep)

    def _maker(self, job: StreamJob) -> StreamMaker:
        """What makes the stream of a job."""
        return StreamMaker(
            *(self._model, self._config, self._recordings, self._page, self._jobs),
            *(self._files, self._device, self._sounds),
        )

    def _check(self, job: StreamJob) -> None:
        config = self._job_config(job)
        resolve_plan(config, config.read_story(), self._model)

    def _job_config(self, job: StreamJob) -> RunConfig:
        """A job as a run; `ConfigError` for a story that cannot be read or used."""
        story = parse_story(job.story, "the story")
        if any(cue.image is not None for cue in story.cues):
            raise ConfigError("a story that is ordered cannot name pictures of this machine")
        return replace(
            self._config,
            story=story,
            seconds=job.seconds,
            endless=job.seconds is None and self._model.transformer.causal,
            seed=self._config.seed if job.seed is None else job.seed,
        )

    def _end_all(self) -> None:
        self._stop.wait()
        self._jobs.interrupt()
