"""The device of a server, which its streams share: how many run on it, and which may begin."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from threading import Lock, get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from sana_stream.errors import ConfigError

if TYPE_CHECKING:
    from sana_stream.engine.engine import Engine
    from sana_stream.engine.session.session import Session
    from sana_stream.engine.snapshot.snapshot import SessionSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StreamDemand:
    """What a stream needs of the device."""

    settings: SessionSettings
    fps: float  # at which it is watched
    paced: bool = True  # whether it is watched while it is made


class Device(Protocol):
    """Runs the networks of a server's streams; methods are called from any thread."""

    def claim(self, demand: StreamDemand) -> bool:
        """Whether a stream may begin now; the calling thread then makes it."""
        ...

    def attach(self, session: Session, demand: StreamDemand) -> Session:
        """Run the networks of a session that the calling thread has begun."""
        ...

    def release(self, session: Session | None) -> None:
        """End what `claim` and `attach` began; None: no session was begun."""
        ...


class OneStreamDevice:
    """The device of a server that makes one stream at a time."""

    def claim(self, demand: StreamDemand) -> bool:
        return True

    def attach(self, session: Session, demand: StreamDemand) -> Session:
        return session

    def release(self, session: Session | None) -> None:
        pass


class SharedDevice:
    """A device on which streams begin as far as there are time and memory for them.

    One stream begins at a time: its needs are taken into account once it is attached. Where the
    device is too slow for a single stream in real time, its time is not considered.

    Args:
        engine: the loaded model.
        streams: the most streams that run at the same time.
        usual: what a stream needs whose client asks for no other settings.
        overcommit: let streams begin for which the device has no time in real time.

    Raises:
        ConfigError: only one thread may use the device, or a single stream has no place in its
            memory.
    """

    def __init__(self, engine: Engine, streams: int, usual: StreamDemand, overcommit: bool) -> None:
        from sana_stream.engine.scheduling import SharedEngine  # loads torch

        # batches change no frame on the CPU; elsewhere a stream would depend on its neighbours
        batch = None if engine.device.type == "cpu" else 1
        self._shared = SharedEngine(engine, streams, streams, batch, usual.settings)
        self._streams = streams
        self._usual = usual
        self._timed = not overcommit
        self._lock = Lock()
        self._beginning: int | None = None  # the thread whose stream is not attached yet
        self._said_why = False  # the next stream waits, and the reason is logged

    def __enter__(self) -> Self:
        """Measure the model; raises ConfigError where no stream fits."""
        self._shared.__enter__()
        try:
            self._check()
        except BaseException:
            self._shared.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._shared.__exit__(kind, error, trace)

    def claim(self, demand: StreamDemand) -> bool:
        with self._lock:
            if self._beginning is not None:
                return False
            found = self._shared.admit(demand.settings, demand.fps, self._is_timed(demand))
            begins = found.fits or not found.possible  # `attach` refuses what never fits
            if begins:
                self._beginning, self._said_why = get_ident(), False
            elif not self._said_why:
                self._said_why = True
                logger.info("the next stream waits: %s", found.reason)
            return begins

    def attach(self, session: Session, demand: StreamDemand) -> Session:
        try:
            timed = self._is_timed(demand)
            return self._shared.attach(session, fps=demand.fps, paced=timed)
        finally:
            self._begun()

    def release(self, session: Session | None) -> None:
        self._begun()
        if session is not None:
            self._shared.detach(session)

    def _is_timed(self, demand: StreamDemand) -> bool:
        """Whether a stream needs blocks in time; one that never gets them is made without."""
        if not (self._timed and demand.paced):
            return False
        return self._shared.admit(demand.settings, demand.fps, paced=True).possible

    def _begun(self) -> None:
        with self._lock:
            if self._beginning == get_ident():
                self._beginning = None

    def _check(self) -> None:
        usual = self._usual
        alone = self._shared.admit(usual.settings, usual.fps, paced=True)
        used = alone.demand.utilization
        if not self._shared.admit(usual.settings, usual.fps, paced=False).possible:
            raise ConfigError(f"{alone.reason}; or run one stream at a time")
        if not alone.possible:
            logger.info(
                "one stream needs %.0f %% of the device's time: streams are slower than they play",
                100 * used,
            )
            self._timed = False
        elif self._timed and (fitting := self._shared.fitting(used)) < self._streams:
            logger.info(
                "each stream needs %.0f %% of the device's time: %d of %d run at the same time in"
                " real time, others wait (overcommit=True: slower than they play)",
                *(100 * used, fitting, self._streams),
            )
