"""The device of a replica, which the streams of its calls share by their deadlines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from sana_stream.engine.device import is_single_threaded
from sana_stream.engine.scheduling import SharedEngine

if TYPE_CHECKING:
    from sana_stream.engine.engine import Engine
    from sana_stream.engine.session.session import Session

MOST_CALLS = 64  # that a replica answers at the same time


class ReplicaDevice:
    """Runs the networks of a replica's sessions: the earliest deadline, by slack, comes first.

    On a device that only one thread may use, blocks are made in the order of the calls.

    Args:
        engine: the loaded model.

    Raises:
        ConfigError: as `SharedEngine`.
    """

    def __init__(self, engine: Engine) -> None:
        self.shared: SharedEngine | None = None
        self.turn = Lock()  # held while a block is made, without a shared engine
        if not is_single_threaded(engine.device):
            self.shared = SharedEngine(engine, MOST_CALLS, MOST_CALLS, always_one=True)
            self.shared.__enter__()

    def close(self) -> None:
        """Detach all sessions and end the thread of the networks."""
        if self.shared is not None:
            self.shared.__exit__(None, None, None)


class DeviceSession:
    """A session on a replica's device, of which it has a share only while its blocks are made.

    Between them its memory is moved to the host where others need it.

    Args:
        session: of the device's engine.
        device: of the replica.
    """

    def __init__(self, session: Session, device: ReplicaDevice) -> None:
        self._session, self._device = session, device
        self._attached = False
        self._idle = ExitStack()

    @contextmanager
    def making(self, due: float | None) -> Iterator[None]:
        """A context in which one thread makes blocks of the session.

        Args:
            due: seconds from now until its viewer has nothing left to play; None: as fast as
                possible, with what other sessions leave.
        """
        shared = self._device.shared
        if shared is None:
            with self._device.turn:
                yield
            return
        if not self._attached:
            shared.attach(self._session)
            self._attached = True
        self._session.set_deadline(None if due is None else time.monotonic() + due)
        self._idle.close()
        try:
            yield
        finally:
            self._idle.enter_context(self._session.idle())

    def close(self) -> None:
        """Leave the device; to be called while no block is made."""
        if self._device.shared is not None and self._attached:
            self._device.shared.detach(self._session)
