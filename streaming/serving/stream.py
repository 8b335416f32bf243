"""Making one stream of a server: its run, its recording, its checkpoint and its page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sana_stream._text import safe_text
from sana_stream.errors import ConfigError, SanaStreamError
from sana_stream.streaming.control.job_queue import JobQueue, StreamJob
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.run.checkpoint_files import SUFFIX
from sana_stream.streaming.run.config import RunConfig
from sana_stream.streaming.run.live import LivePage
from sana_stream.streaming.run.model import RunModel
from sana_stream.streaming.run.outputs import metadata_of
from sana_stream.streaming.run.plan import with_first_image
from sana_stream.streaming.run.recordings import Recordings
from sana_stream.streaming.run.runner import Run
from sana_stream.streaming.run.served import ServedOutputs

from .job_config import branch_of
from .kept_jobs import KeptJobs
from .recorded import Sounds
from .shared_device import StreamDemand
from .starts import JobStarts

if TYPE_CHECKING:
    from sana_stream.engine.session.session import Session
    from sana_stream.streaming.audio import AudioTrack
    from sana_stream.streaming.outputs.recording import LimitedRecording
    from sana_stream.streaming.web.registry import ActiveStream

    from .reporters import StreamReporter
    from .shared_device import Device

_REASON = 300  # characters of why a stream is not recorded


class StreamMaker:
    """Makes one stream of a server, from its beginning or from its checkpoint.

    Attributes:
        run: the run, once it is planned.
        may_be_resumed: whether the next server may try to resume a stream that failed here.
    """

    def __init__(
        self,
        model: RunModel,
        config: RunConfig,
        recordings: Recordings,
        page: LivePage,
        jobs: JobQueue,
        files: KeptJobs | None,
        device: Device,
        starts: JobStarts,
        sounds: Sounds,
    ) -> None:
        self.run: Run | None = None
        self.may_be_resumed = False
        self._model = model
        self._config = config
        self._recordings = recordings
        self._page = page
        self._jobs = jobs
        self._files = files
        self._device = device
        self._starts = starts
        self._sounds = sounds
        self._session: Session | None = None
        self._stream: ActiveStream | None = None
        self._recording: LimitedRecording | None = None

    def make(
        self,
        job: StreamJob,
        config: RunConfig,
        control: LiveControl,
        reporter: StreamReporter,
    ) -> None:
        """Make the stream to its end; to be called once.

        Args:
            job: what is made.
            config: the same as a run.
            control: directs the stream.
            reporter: shows it.

        Raises:
            SanaStreamError: the stream cannot be made.
        """
        run, film = self._plan(job, config, control)
        self.run = run
        try:
            run.use_served(self._open(run, job, film, reporter))
            self.may_be_resumed = False
            with run, reporter.running(run.progress):
                for progress in run:
                    reporter.block(progress)
                over = self._jobs.settle(job, run.progress.complete)
                if over or not self._recordings.keep:  # no later server resumes it
                    run.finish()
                else:
                    self._recordings.hold(job.id)
        finally:
            run.locks.release_all()
            if self._recording is not None:
                self._recording.close()
            if self._stream is not None:
                self._stream.status.finish()

    def close(self) -> None:
        """Give the stream's share of the device back."""
        self._device.release(self._session)

    def _attach(self, session: Session) -> Session:
        run, self._session = self.run, session
        assert run is not None
        demand = StreamDemand(run.plan.settings, float(run.plan.fps), run.config.paced)
        return self._device.attach(session, demand)

    def _plan(
        self, job: StreamJob, config: RunConfig, control: LiveControl
    ) -> tuple[Run, Path | None]:
        """The run of the stream, and the recording that it continues."""
        film = self._film(job)
        if film is None:
            return self._begun(job, config, control), None
        self.may_be_resumed = True
        return self._resumed(film, control), film

    def _begun(self, job: StreamJob, config: RunConfig, control: LiveControl) -> Run:
        """The run of a stream from its beginning."""
        if job.request.branch_from is None:
            if job.has_picture:
                config = replace(config, image=str(self._starts.picture(job.id)))
            story = with_first_image(config, config.read_story())
            return Run.planned(self._model, config, story, control=control)
        start = self._starts.checkpoint(job.id)
        found = branch_of(job.request, start, self._config, self._model)
        return Run.planned(*(found.model, found.config, found.story, found.origin), control=control)

    def _film(self, job: StreamJob) -> Path | None:
        """The recording that is continued; one without a checkpoint begins again."""
        film = None if self._files is None else self._files.film(job)
        if film is None or film.with_suffix(SUFFIX).exists():
            return film
        self._recordings.discard(film)
        return None

    def _resumed(self, film: Path, control: LiveControl) -> Run:
        config = self._config
        return Run.resume(
            self._model.engine, film, control=control, web=config.web, host=config.host
        )

    def _open(
        self, run: Run, job: StreamJob, film: Path | None, reporter: StreamReporter
    ) -> ServedOutputs:
        """Open the recording and show the stream."""
        path, why, audio = film, None, self._sounds.of(run.config)
        try:
            path = self._record(run, job, film, audio)
        except (OSError, ValueError, SanaStreamError) as error:
            if film is not None:
                raise ConfigError(f"{safe_text(film)} cannot be resumed: {error}") from error
            why = error.strerror.lower() if isinstance(error, OSError) and error.strerror else error
            why = safe_text(why, _REASON).replace("(limit=)", "(--keep)")
        written, is_kept = None if path is None else str(path), self._recordings.keep
        if self._files is not None and film is None:
            self._files.begin(job, path)
        self._stream = self._page.begin(run.plan, run.control, path, job.id, audio)
        if why is not None:
            reporter.note(f"stream {job.id} is not recorded: {why}")
            self._set_notice(f"This stream is not recorded: {why}.")
        reporter.plan(run.plan, (written if written and is_kept else "the page",))
        return ServedOutputs(self._stream, self._attach, self._recording, written, is_kept)

    def _record(
        self, run: Run, job: StreamJob, film: Path | None, audio: AudioTrack | None
    ) -> Path:
        """Open the recording of a stream; raises what `Recordings.begin` raises."""
        video, metadata = run.plan.video_format, metadata_of(run.plan)
        if film is None:
            path, self._recording = self._recordings.begin(
                *(job.id, video, metadata, self._set_notice, run.locks), audio=audio
            )
            return path
        self._recording = self._recordings.open(
            *(film, job.id, video, metadata, self._set_notice, run.locks),
            resume_frames=run.plan.origin.frames,
            audio=audio,
        )
        return film

    def _set_notice(self, notice: str) -> None:
        if self._stream is not None:
            self._stream.status.set_notice(notice)
