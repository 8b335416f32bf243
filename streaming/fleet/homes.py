"""Which replica generates which stream: a table with affinity, kept by the gateway."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from math import inf
from threading import Lock
from typing import Any

SUSPECT_SECONDS = 60.0  # longer than Ray Serve takes to replace a replica that hangs


class HomeTable:
    """Assigns each session to a replica and keeps it there.

    A new session, and one whose replica is gone, suspected or draining, goes to the replica with
    the fewest sessions. When a replica has two sessions more than another, as after the return of
    a lost one, sessions move over one by one, each between two of its blocks. A choice takes a time
    that hardly grows with the number of replicas and sessions.

    Args:
        clock: in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._replicas: tuple[str, ...] = ()
        self._homes: dict[str, str] = {}
        self._pins: dict[str, str] = {}
        self._draining: set[str] = set()
        self._suspected: dict[str, float] = {}  # until when
        self._counts: Counter[str] = Counter()  # sessions of each replica
        self._usable: frozenset[str] = frozenset()
        self._usable_until = inf  # when the suspicion of a replica ends
        self._least: list[tuple[int, str]] = []  # heap of usable replicas; may hold old counts
        self.moves = 0

    def update(self, replicas: Iterable[str]) -> None:
        """Set the replicas that run."""
        with self._lock:
            names = tuple(sorted(replicas))
            if names == self._replicas:
                return
            self._replicas = names
            self._draining &= set(self._replicas)
            self._suspected = {r: t for r, t in self._suspected.items() if r in self._replicas}
            self._find_usable()

    def choose(self, session: str) -> str | None:
        """The replica for the next call of a session; None where no replica runs."""
        with self._lock:
            if (pinned := self._pins.get(session)) is not None:
                return pinned if pinned in self._replicas else None
            usable = self._current()
            if not usable:
                return None
            home, least = self._homes.get(session), self._find_least()
            if home in usable and self._counts[home] - self._counts[least] < 2:
                return home
            if home is not None:
                self.moves += 1
            self._assign(session, least)
            return least

    def may_move(self, session: str) -> bool:
        """Whether a session's replica is avoided or gone, and another one can be asked."""
        with self._lock:
            home, usable = self._homes.get(session), self._current()
            return session not in self._pins and bool(usable) and home not in usable

    def pin(self, session: str, replica: str) -> None:
        """Send the calls of a session to one replica only, until `forget`."""
        with self._lock:
            self._pins[session] = replica

    def suspect(self, replica: str, seconds: float = SUSPECT_SECONDS) -> None:
        """Avoid a replica that did not answer in time, for a while."""
        with self._lock:
            self._suspected[replica] = self._clock() + seconds
            self._find_usable()

    def trust(self, replica: str) -> None:
        """Use a replica again that has answered."""
        with self._lock:
            if self._suspected.pop(replica, None) is not None:
                self._find_usable()

    def drain(self, replica: str) -> bool:
        """Move all sessions of a replica away, with their next blocks; False if it is unknown."""
        with self._lock:
            if replica not in self._replicas:
                return False
            self._draining.add(replica)
            self._find_usable()
            return True

    def forget(self, session: str) -> None:
        """Remove a session that has ended."""
        with self._lock:
            self._assign(session, None)
            self._pins.pop(session, None)

    def home(self, session: str) -> str | None:
        """The replica of a session's last call."""
        with self._lock:
            return self._pins.get(session, self._homes.get(session))

    def replicas(self) -> dict[str, dict[str, Any]]:
        """The running replicas, each with the fields of a `FleetReplica` except its place."""
        with self._lock:
            now = self._clock()
            return {
                replica: {
                    "streams": sorted(s for s, home in self._homes.items() if home == replica),
                    "draining": replica in self._draining,
                    "suspected": self._suspected.get(replica, now) > now,
                }
                for replica in self._replicas
            }

    def _assign(self, session: str, replica: str | None) -> None:
        before = self._homes.pop(session, None)
        if replica is not None:
            self._homes[session] = replica
        for changed, by in ((before, -1), (replica, 1)):
            if changed is not None:
                self._counts[changed] += by
                if changed in self._usable:
                    heappush(self._least, (self._counts[changed], changed))

    def _current(self) -> frozenset[str]:
        """The replicas for sessions: without draining and suspected ones, if others are left."""
        if self._clock() >= self._usable_until:
            self._find_usable()
        return self._usable

    def _find_usable(self) -> None:
        now = self._clock()
        self._suspected = {r: t for r, t in self._suspected.items() if t > now}
        self._usable_until = min(self._suspected.values(), default=inf)
        staying = [r for r in self._replicas if r not in self._draining] or list(self._replicas)
        trusted = [r for r in staying if r not in self._suspected]
        self._usable = frozenset(trusted or staying)
        self._counts = Counter(self._homes.values())
        self._least = [(self._counts[replica], replica) for replica in self._usable]
        heapify(self._least)

    def _find_least(self) -> str:
        """The usable replica with the fewest sessions."""
        if len(self._least) > 4 * len(self._usable) + 64:
            self._find_usable()
        while self._least[0][0] != self._counts[self._least[0][1]]:
            heappop(self._least)
        return self._least[0][1]


HOMES = HomeTable()
"""The table of this process, which its router and its gateway share."""
