"""A server whose streams are made by the replicas of a fleet."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from sana_stream.errors import HealthError, JobError, SanaStreamError
from sana_stream.streaming.control.job_queue import StreamJob
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.run.config import RunConfig
from sana_stream.streaming.run.model import describe_files
from sana_stream.streaming.run.plan import with_size
from sana_stream.streaming.run.recordings import Recordings
from sana_stream.streaming.run.runner import Run
from sana_stream.streaming.serving.reporters import ServerReporter, StreamReporter
from sana_stream.streaming.serving.server import ServerOptions, StreamServer
from sana_stream.streaming.serving.stream import StreamMaker

from .config import FleetConfig
from .gateway import Gateway, GatewayStream

if TYPE_CHECKING:
    from sana_stream.streaming.audio import AudioTrack
    from sana_stream.streaming.run.served import ServedOutputs

logger = logging.getLogger(__name__)


class FleetServer(StreamServer):
    """Serves the streams of a fleet; each has a thread here, and its networks on a replica.

    Args:
        config, reporter, recordings, stop, options: as of `StreamServer`.
        fleet: where the replicas run, and the store.

    Raises:
        ConfigError, CheckpointError: the model cannot be used, or the store of the fleet.
        StoreError: the store cannot be reached, read or written.
    """

    def __init__(
        self,
        config: RunConfig,
        reporter: ServerReporter,
        recordings: Recordings,
        stop: Event,
        options: ServerOptions,
        fleet: FleetConfig,
    ) -> None:
        def end(line: str) -> None:
            reporter.note(line)
            stop.set()

        model = describe_files(config)
        given = with_size(config, model)
        preset = model.preset
        fps = float(preset.fps if given.fps is None else given.fps)
        self._gateway = Gateway(fleet, given, preset.motion_score, fps, end)
        # the replicas' device, which this machine may not have
        own = replace(given, device="auto", dtype="auto", checkpoint=False)
        super().__init__(own, reporter, recordings, stop, options, self._gateway)
        self._fleet = self._gateway

    @contextmanager
    def page(self) -> Iterator[None]:
        """Serve the page inside the context, at whose end the replicas end."""
        with self._gateway, super().page():
            yield

    def unready(self) -> str | None:
        """As `StreamServer.unready`; also while no replica runs."""
        return super().unready() or self._gateway.unready()

    def load(self) -> None:
        """Start the replicas; raises as `Gateway.start`."""
        self._gateway.start()

    def serve(self) -> None:
        """Make streams until `stop` is set."""
        self._run_threads()

    def prepare(self, job: StreamJob, picture: bytes | None) -> StreamJob:
        """As `StreamServer.prepare`; raises JobError for a branch or a picture."""
        if picture is not None:
            raise JobError("a fleet begins no stream with a picture; leave it out", "picture")
        if job.request.branch_from is not None:
            raise JobError("branch_from: a fleet makes no branches; leave it out", "branch_from")
        return job

    def _maker(self, job: StreamJob) -> StreamMaker:
        maker = FleetStreamMaker(
            *(self._model, self._config, self._recordings, self._page, self._jobs),
            *(self._files, self._device, self._starts, self._sounds),
        )
        maker.follow(self._gateway.stream(job), self._stop)
        return maker


class FleetStreamMaker(StreamMaker):
    """Makes one stream, whose blocks come from replicas."""

    def follow(self, remote: GatewayStream, stop: Event) -> None:
        """Set the stream, which is kept when the server ends; to be called once."""
        self._remote, self._stop = remote, stop

    def make(
        self,
        job: StreamJob,
        config: RunConfig,
        control: LiveControl,
        reporter: StreamReporter,
    ) -> None:
        """As `StreamMaker.make`; a stream that is stopped while it waits ends without an error."""
        try:
            super().make(job, config, control, reporter)
        except SanaStreamError as error:
            self.may_be_resumed = self._remote.is_untouched
            if not (isinstance(error, HealthError) and control.stop.is_set()):
                raise

    def close(self) -> None:
        """End the stream here."""
        self._remote.close(keep=self._stop.is_set())
        super().close()

    def _plan(
        self, job: StreamJob, config: RunConfig, control: LiveControl
    ) -> tuple[Run, Path | None]:
        remote = self._remote
        self.may_be_resumed = remote.is_resumed
        run = Run.planned(
            remote.model(self._model), config, config.read_story(), remote.origin, control=control
        )
        film = remote.film
        return run, film if film is not None and self._recordings.holds(film) else None

    def _open(
        self, run: Run, job: StreamJob, film: Path | None, reporter: StreamReporter
    ) -> ServedOutputs:
        opened = super()._open(run, job, film, reporter)
        kept = Path(opened.path) if opened.path is not None and opened.is_kept else None
        self._remote.record(run.plan.id, kept, opened.recording)
        self._remote.notice = self._set_notice
        return opened

    def _record(
        self, run: Run, job: StreamJob, film: Path | None, audio: AudioTrack | None
    ) -> Path:
        if film is not None:
            try:
                return super()._record(run, job, film, audio)
            except (OSError, ValueError, SanaStreamError) as error:
                logger.warning("%s is not continued, a new file is begun: %s", film, error)
        return super()._record(run, job, None, audio)
