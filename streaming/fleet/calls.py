"""Asking replicas for blocks: with a time limit, and again where one is lost or late."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from threading import Event, Lock
from typing import Any, Protocol, TypeVar

from sana_stream.errors import HealthError, StoreError

from .homes import HomeTable
from .order import StreamOrder
from .reply import BlockReply

T = TypeVar("T")
logger = logging.getLogger(__name__)
LONGEST_LIMIT = 600.0  # seconds
# for viewers
_NOTICE = "The stream is being moved to another machine; it continues in a moment."
_STORE_NOTICE = "The store of the streams cannot be reached; the stream continues once it can."
_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)  # seconds between two attempts


class ReplicaLost(Exception):  # noqa: N818 - not a fault of the call
    """The replica ended, or takes no calls any more; another one can answer."""


class ReplicaLate(Exception):  # noqa: N818
    """The replica did not answer within the limit."""


class Transport(Protocol):
    """Carries one call to the replica that the table names for a stream."""

    def call(self, method: str, stream: str, arguments: tuple[Any, ...], limit: float) -> Any:
        """The replica's answer; raises ReplicaLost, ReplicaLate, or the replica's own error."""
        ...


@dataclass
class FleetCounters:
    """What the gateway has counted since it was started."""

    lock: Lock = field(default_factory=Lock)
    blocks: int = 0
    remade: int = 0  # blocks that were made again after a move
    retries: Counter[str] = field(default_factory=Counter)  # by reason
    longest_pause: float = 0.0  # seconds, from a failed call until the block
    block_seconds: float = 0.0  # in all
    places: dict[str, str] = field(default_factory=dict)  # of replicas, HOST:PID

    def on_reply(self, reply: BlockReply, seconds: float, pause: float) -> None:
        """Count a block."""
        with self.lock:
            self.blocks += 1
            self.remade += max(0, reply.made - 1)
            self.block_seconds += seconds
            self.places[reply.replica] = reply.place
            self.longest_pause = max(self.longest_pause, pause)

    def on_retry(self, reason: str) -> None:
        """Count an attempt that failed."""
        with self.lock:
            self.retries[reason] += 1


class RetryingCalls:
    """Asks for blocks until a replica answers; every call may be repeated without harm.

    A late replica is avoided for a while, and the limit doubles with each attempt, so that a block
    for which many have to be made again is waited for in the end.

    Args:
        transport: carries single calls.
        homes: the table of the router.
        limit: seconds for the first attempt.
        stop: ends the repetition.
        notice: called with a sentence for viewers while no replica answers, and with "" after it.
    """

    def __init__(
        self,
        transport: Transport,
        homes: HomeTable,
        counters: FleetCounters,
        limit: float,
        stop: Event,
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._transport, self._homes, self._counters = transport, homes, counters
        self._limit, self._stop, self._notice = limit, stop, notice

    def block(
        self, stream: str, number: int, order: StreamOrder, deadline: float | None = None
    ) -> BlockReply:
        """Block `number` of a stream.

        Args:
            deadline: when the viewer has nothing left to play, in seconds of `time.monotonic`;
                None: it has no viewer who waits. A block is due after half the limit at the latest,
                so that streams with a deadline do not make others late.

        Raises:
            HealthError: the stream was stopped before a replica answered, or values are not finite.
            ConfigError, SnapshotError: as on the replica.
        """
        begun = time.monotonic()
        reply, pause = self._repeat("block", stream, lambda: (number, order, self._due(deadline)))
        self._counters.on_reply(reply, time.monotonic() - begun, pause)
        if pause:
            logger.warning(
                "%s: block %d came %.1f s after the failed call, from %s",
                *(stream, number + 1, pause, reply.replica),
            )
        return reply

    def checkpoint(
        self, stream: str, number: int, order: StreamOrder, extra: dict[str, object]
    ) -> bytes:
        """The checkpoint file of a stream before block `number`; raises as `block`."""
        return self._repeat("checkpoint", stream, lambda: (number, order, extra))[0]

    def until_stored(self, stream: str, put: Callable[[], None]) -> None:
        """Repeat what writes to the store for a stream until it succeeds.

        Raises:
            HealthError: the stream was stopped before.
        """
        for attempt in count():
            try:
                put()
            except StoreError as error:
                self._on_failure(error, stream, is_new=not attempt)
                self._pause(attempt, stream, "the store could not be reached")
            else:
                if attempt:
                    self._notice("")
                return

    def _repeat(
        self, method: str, stream: str, arguments: Callable[[], tuple[Any, ...]]
    ) -> tuple[Any, float]:
        """The answer, and the seconds since the first failed call; 0 where none failed."""
        limit, failed, attempt, reason = self._limit, 0.0, 0, ""
        while True:
            try:
                answer = self._transport.call(method, stream, arguments(), limit)
                break
            except (ReplicaLost, ReplicaLate, StoreError) as error:
                moves, before = self._homes.may_move(stream), reason
                reason = _reason(error)
                self._on_failure(error, stream, is_new=reason != before)
                if reason == "late" and not moves:  # one that was left early was not too slow
                    limit = min(2 * limit, LONGEST_LIMIT)
            failed = failed or time.monotonic()
            self._pause(attempt, stream, f"no replica answered ({reason})")
            attempt += 1
        if (home := self._homes.home(stream)) is not None:
            self._homes.trust(home)
        if not failed:
            return answer, 0.0
        self._notice("")
        return answer, time.monotonic() - failed

    def _due(self, deadline: float | None) -> float:
        """The seconds that are left, which machines with other clocks can use too."""
        latest = self._limit / 2
        return latest if deadline is None else min(latest, deadline - time.monotonic())

    def _pause(self, attempt: int, stream: str, reason: str) -> None:
        if self._stop.wait(_PAUSES[min(attempt, len(_PAUSES) - 1)]):
            raise HealthError(f"{stream}: stopped while {reason}")

    def _on_failure(self, error: Exception, stream: str, is_new: bool) -> None:
        """Count a failed attempt, and report it once for each reason."""
        home, reason = self._homes.home(stream), _reason(error)
        line = str(error) if reason == "store" else f"the replica is lost ({error})"
        if reason == "late":
            line = f"{home} does not answer (limit: {error} s)"
            if home is not None:
                self._homes.suspect(home)
        self._counters.on_retry(reason)
        logger.log(
            logging.WARNING if is_new else logging.DEBUG, "%s: %s; asking again", stream, line
        )
        self._notice(_STORE_NOTICE if reason == "store" else _NOTICE)


def _reason(error: Exception) -> str:
    """A word for the counters."""
    if isinstance(error, StoreError):
        return "store"
    return "late" if isinstance(error, ReplicaLate) else "lost"
