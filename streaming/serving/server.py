"""A server: one engine, a queue of jobs, and threads that make their streams."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Event, Thread, current_thread

from sana_stream._text import safe_text
from sana_stream.errors import BranchError, ConfigError, JobError, SanaStreamError
from sana_stream.streaming.control.job_queue import JobQueue, StreamJob
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.run.config import RunConfig
from sana_stream.streaming.run.films import RecordedFilms
from sana_stream.streaming.run.live import LivePage
from sana_stream.streaming.run.model import describe_files
from sana_stream.streaming.run.model_facts import served_model
from sana_stream.streaming.run.plan import check_settings, size_notes, with_size
from sana_stream.streaming.run.recordings import Recordings
from sana_stream.streaming.run.runner import Run
from sana_stream.streaming.web.fleet import FleetStatus
from sana_stream.streaming.web.options import NO_OPTIONS, WebOptions

from .job_config import check_branch, check_job, job_config
from .kept_jobs import KeptJobs
from .recorded import Sounds
from .reporters import ServerReporter
from .shared_device import Device, OneStreamDevice, SharedDevice, StreamDemand
from .starts import JobStarts
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
        self._makers: dict[int, StreamMaker] = {}  # of streams that run
        fps = float(config.fps or self._model.preset.fps)
        self._starts = JobStarts(recordings, self._running, fps)
        self._jobs = JobQueue(self, recordings.first_id(), files, recordings.forget)
        self._device: Device = OneStreamDevice()
        self._fleet: FleetStatus | None = None
        self._serving = False

    @contextmanager
    def page(self) -> Iterator[None]:
        """Serve the page, which submits jobs, inside the context.

        The streams of an earlier server are queued before, or are dropped.
        """
        config, earlier = self._config, self._restore()
        page = (config.host, config.web or 0, config.token, self._jobs, self._fleet)
        recorded = (RecordedFilms(self._recordings, self._jobs.abandon), self._recordings)
        shown = (served_model(config, self._model), *recorded)
        with LivePage(*page, self._options.web, self.unready, *shown) as self._page:
            self._report(earlier)
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

    def _restore(self) -> list[StreamJob]:
        """The streams of an earlier server, queued where they are to be resumed."""
        if self._files is None:
            return []
        jobs = self._files.load()
        if self._options.resume:
            for job in jobs:
                film = self._files.film(job)
                if film is not None and self._recordings.holds(film):
                    self._recordings.hold(job.id, film)
            self._jobs.restore(jobs)
        return jobs

    def _report(self, jobs: list[StreamJob]) -> None:
        """Log which streams of an earlier server are resumed, or drop them."""
        if self._files is None:
            return
        if not self._options.resume:
            self._files.drop()
        for job in jobs:
            if not self._options.resume:
                self._starts.remove(job)
                continue
            film = self._files.film(job)
            how = "waits in the queue" if film is None else f"is resumed: {safe_text(film)}"
            logger.info("stream %d of an earlier server %s", job.id, how)

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
        overcommit = self._options.overcommit
        with SharedDevice(engine, streams, self._usual(), overcommit) as self._device:
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
        while (found := self._jobs.next(self._stop, self._claim)) is not None:
            thread.name = f"stream {found[0].id}"  # for the log
            self._make_stream(*found)
            thread.name = name

    def _make_stream(self, job: StreamJob, control: LiveControl) -> None:
        reporter, failure, keep = self._reporter.stream(job.id), "", False
        if self._stop.is_set():
            self._jobs.interrupt()
        maker = self._makers[job.id] = self._maker(job)
        try:
            config = job_config(job.request, self._config, self._model)
            maker.make(job, config, control, reporter)
        except Exception as error:  # of any kind: the other streams continue
            failure, keep = self._reporter.describe(error), maker.may_be_resumed
            self._page.metrics.on_error(error)
            line = failure if self._options.streams > 1 else f"stream {job.id}: {failure}"
            reporter.failed(line, error)
        finally:
            del self._makers[job.id]
            maker.close()
        self._jobs.end(job, failure, keep)

    def _maker(self, job: StreamJob) -> StreamMaker:
        """What makes the stream of a job."""
        return StreamMaker(
            *(self._model, self._config, self._recordings, self._page, self._jobs),
            *(self._files, self._device, self._starts, self._sounds),
        )

    def check(self, job: StreamJob) -> None:
        """As `JobPreparation.check`."""
        if job.has_picture and not self._model.preset.image_start:
            raise JobError("this model cannot begin with a picture: leave it out", "picture")
        if job.has_picture and job.request.branch_from is not None:
            raise JobError(
                "a branch begins with a moment of its stream: leave the picture out", "picture"
            )
        check_job(job.request, self._config, self._model)

    def prepare(self, job: StreamJob, picture: bytes | None) -> StreamJob:
        """As `JobPreparation.prepare`."""
        if picture is not None:
            self._starts.save_picture(job, picture)
        if (point := job.request.branch_from) is None:
            return job
        if not self._model.transformer.causal:
            raise BranchError("this model makes one clip at a time: leave branch_from out")
        job = self._starts.save_moment(job, point)
        check_branch(job.request, self._starts.checkpoint(job.id), self._config, self._model)
        return job

    def discard(self, job: StreamJob) -> None:
        """As `JobPreparation.discard`."""
        self._starts.remove(job)
        self._recordings.release(job.id)

    def _demand(self, job: StreamJob) -> StreamDemand:
        """What a job needs of the device."""
        config = job_config(job.request, self._config, self._model)
        fps = float(config.fps or self._model.preset.fps)
        if job.request.branch_from is None:
            settings = check_settings(config, self._model)
        else:
            from sana_stream.engine.snapshot.file import read_header  # loads torch

            settings = read_header(self._starts.checkpoint(job.id)).settings
        return StreamDemand(settings, fps, config.paced)

    def _running(self, stream_id: int) -> Run | None:
        maker = self._makers.get(stream_id)
        return None if maker is None else maker.run

    def _claim(self, job: StreamJob) -> bool:
        try:
            demand = self._demand(job)
        except SanaStreamError:  # its thread reports why it cannot be made
            demand = self._usual()
        return self._device.claim(demand)

    def _usual(self) -> StreamDemand:
        """What a job without settings needs of the device."""
        fps = float(self._config.fps or self._model.preset.fps)
        return StreamDemand(check_settings(self._config, self._model), fps)

    def _end_all(self) -> None:
        self._stop.wait()
        self._jobs.interrupt()
