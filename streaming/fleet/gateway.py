"""The gateway of a fleet: its store, its replicas, and the streams that they make for a server."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sana_stream._files import expand_user
from sana_stream.errors import ConfigError
from sana_stream.streaming.control.job_queue import StreamJob
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.run.config import RunConfig
from sana_stream.streaming.run.plan import NEW_VIDEO, RunOrigin
from sana_stream.streaming.stream_name import stream_name
from sana_stream.streaming.web.fleet import FleetMetrics, FleetReplica, FleetState

from .calls import FleetCounters, RetryingCalls
from .claim import StoreClaim
from .cluster import deployed
from .config import FleetConfig, check_address
from .control import (
    GatewayControl,
    ReplayControl,
    Schedule,
    schedule_from_json,
    schedule_to_json,
)
from .engine import RemoteEngine
from .homes import HOMES
from .jobs import StoredJobs, film_of
from .order import StreamOrder
from .store import StreamStore, unknown_store

if TYPE_CHECKING:
    from sana_stream.streaming.outputs.recording import LimitedRecording
    from sana_stream.streaming.run.model import RunModel

    from .calls import Transport

_ALL = 1 << 62  # frames
_DRAIN_SECONDS = 120.0


class GatewayStream:
    """One stream of a server, whose blocks the replicas make.

    Attributes:
        control: directs it; repeats first what clients changed after the stored position.
        origin: where its run begins.
        film: the recording that an earlier gateway began, None where there is none.
        notice: shows a sentence to viewers.
    """

    def __init__(self, gateway: Gateway, job: StreamJob, order: StreamOrder | None) -> None:
        self._gateway, self._name, self._order = gateway, stream_name(job.id), order
        self._engine: RemoteEngine | None = None
        self._recording: LimitedRecording | None = None
        self._unrecorded = 0  # frames before those of the recording
        self._stored: dict[str, Any] = {}
        self.control: LiveControl = GatewayControl(self._keep_schedule)
        self.origin, self.film = NEW_VIDEO, None
        self.notice: Callable[[str], None] = lambda _: None
        if order is not None:
            self._stored = dict(order.gateway or {})
            schedule = schedule_from_json(self._stored.get("schedule"), self._name)
            self.control = ReplayControl(
                *(self._keep_schedule, order, schedule, gateway.prompt_suffix),
                job.request.fps or gateway.fps,
            )
        if order is not None and order.position.frames:
            run = self._stored.get("run")
            self.origin = RunOrigin(
                frames=order.position.frames, id=run if isinstance(run, str) else None
            )
            self.film = film_of(order)

    def model(self, model: RunModel) -> RunModel:
        """The model of the stream's run, with the replicas in place of a loaded one."""
        gateway = self._gateway
        calls = RetryingCalls(
            gateway.transport,
            HOMES,
            gateway.counters,
            gateway.fleet.block_seconds,
            self.control.stop,
            lambda line: self.notice(line),
        )
        self._engine = RemoteEngine(
            *(model, calls, gateway.store, self._name, gateway.guard),
            resumed=self._order,
            gateway=lambda: self._stored,
            saved=self._saved,
        )
        # it has what a run uses of an `Engine`
        return replace(model, engine=self._engine)  # type: ignore[arg-type]

    @property
    def is_resumed(self) -> bool:
        """Whether an earlier gateway began it."""
        return self._order is not None

    @property
    def is_untouched(self) -> bool:
        """Whether it failed here before it began, so that the next gateway may continue it."""
        return self.is_resumed and (self._engine is None or self._engine.stream is None)

    def record(
        self, run: str | None, film: Path | None, recording: LimitedRecording | None
    ) -> None:
        """Keep the run's id and its file, to continue them; called before the first block."""
        self._stored |= {"run": run, "film": None if film is None else str(film.absolute())}
        self._recording = recording
        continued = film is not None and film == self.film
        self._unrecorded = 0 if continued else self.origin.frames

    def close(self, keep: bool) -> None:
        """End the stream here; with `keep` its position is stored, for the next gateway."""
        HOMES.forget(self._name)
        if self._engine is not None and self._engine.stream is not None:
            self._engine.stream.close(keep)

    def _keep_schedule(self, schedule: Schedule) -> None:
        self._stored["schedule"] = schedule_to_json(schedule)
        if self._engine is not None and self._engine.stream is not None:
            self._engine.stream.set_gateway_values(self._stored)

    def _saved(self) -> int:
        """How many frames the recording has; all of them where it has none or has ended."""
        recording = self._recording
        if recording is None or recording.ended_early:
            return _ALL
        return self._unrecorded + recording.frames


class Gateway:
    """The fleet of a server, inside the context; keeps the server's jobs.

    Args:
        fleet: where it runs, and its store.
        config: what all streams have in common.
        prompt_suffix: the model's own words after every prompt.
        fps: of the streams' videos.
        on_lost: called with a line when another fleet has taken the store.

    Raises:
        ConfigError: an address or a store that cannot be used, or the store of another fleet.
        StoreError: the store cannot be reached, read or written.
    """

    def __init__(
        self,
        fleet: FleetConfig,
        config: RunConfig,
        prompt_suffix: str,
        fps: float,
        on_lost: Callable[[str], None],
    ) -> None:
        check_address(fleet.address)
        if fleet.store.startswith("memory:"):
            raise ConfigError(unknown_store(fleet.store))
        if "://" not in fleet.store:  # replicas run in other folders
            fleet = replace(fleet, store=_absolute(fleet.store))
        model = str(config.model)
        model = _absolute(model) if expand_user(model).exists() else model
        self.fleet = fleet
        self.guard, self.prompt_suffix, self.fps = config.guard, prompt_suffix, fps
        self._config = replace(config, web=None, token=None, model=model)
        self.store = StreamStore(self.fleet.store)
        self.store.check()
        self.counters = FleetCounters()
        self._claim = StoreClaim(self.store, on_lost)
        self.jobs = StoredJobs(self.store)
        self._streams: dict[int, GatewayStream] = {}  # that run
        self._opened = ExitStack()
        self._transport: Transport | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the replicas of this machine, and release the store."""
        self.jobs.close()
        try:
            self._opened.__exit__(kind, error, trace)
        finally:
            self._claim.release()

    def start(self) -> None:
        """Start the replicas, and wait until they have loaded the model; raises as `deployed`."""
        self._transport = self._opened.enter_context(deployed(self.fleet, self._config))

    @property
    def transport(self) -> Transport:
        """Carries calls to the replicas, once they are started."""
        assert self._transport is not None, "the replicas are not started"
        return self._transport

    def load(self) -> list[StreamJob]:
        """As `KeptJobs.load`; raises StoreError."""
        return self.jobs.load()

    def drop(self) -> None:
        """As `KeptJobs.drop`."""
        self.jobs.drop()

    def save(self, job: StreamJob) -> None:
        """As `JobStore.save`."""
        self.jobs.save(job)

    def remove(self, job: StreamJob) -> None:
        """As `JobStore.remove`."""
        self._streams.pop(job.id, None)
        self.jobs.remove(job)

    def control(self, job: StreamJob) -> LiveControl:
        """As `JobStore.control`; from then on `stream` has the job's stream."""
        self._streams[job.id] = GatewayStream(self, job, self.jobs.order(job))
        return self._streams[job.id].control

    def begin(self, job: StreamJob, film: Path | None) -> None:
        """Do nothing: the stream's order has its recording."""

    def film(self, job: StreamJob) -> Path | None:
        """The recording of a stream that an earlier gateway began."""
        return self.jobs.film(job)

    def stream(self, job: StreamJob) -> GatewayStream:
        """The stream of a job that runs, from its beginning or from where it was before."""
        return self._streams[job.id]

    def describe(self) -> FleetState:
        """The replicas with their streams, and the counters of this gateway."""
        counted = self.metrics()
        return FleetState(
            store=self.fleet.store,
            replicas={
                name: FleetReplica(self.counters.places.get(name), **facts)
                for name, facts in HOMES.replicas().items()
            },
            moves=counted.moves,
            blocks=counted.blocks,
            remade=counted.remade,
            retries=dict(counted.retries),
            longest_pause=round(counted.longest_pause, 2),
            seconds_per_block=round(counted.block_seconds / max(1, counted.blocks), 3),
        )

    def unready(self) -> str | None:
        """Why no replica could make a stream now; None: one could."""
        return None if HOMES.replicas() else "no replica is running"

    def metrics(self) -> FleetMetrics:
        """The same figures as numbers."""
        counters = self.counters
        with counters.lock:
            return FleetMetrics(
                replicas=len(HOMES.replicas()),
                moves=HOMES.moves,
                blocks=counters.blocks,
                remade=counters.remade,
                block_seconds=counters.block_seconds,
                longest_pause=counters.longest_pause,
                retries=dict(counters.retries),
            )

    def drain(self, replica: str) -> int | None:
        """Store the streams of a replica and let Ray Serve replace it; None if it is unknown."""
        if not HOMES.drain(replica):
            return None
        session = f"drain {replica}"
        HOMES.pin(session, replica)
        try:
            return self.transport.call("drain", session, (), _DRAIN_SECONDS)
        finally:
            HOMES.forget(session)


def _absolute(folder: str) -> str:
    return str(expand_user(folder).absolute())
