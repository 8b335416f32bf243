"""Which replica generates which stream: a table with affinity, kept by the gateway."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from threading import Lock

SUSPECT_SECONDS = 60.0  # longer than Ray Serve takes to replace a replica that hangs


class HomeTable:
    """Assigns each session to a replica and keeps it there.

    A new session, and one whose replica is gone, suspected or draining, goes to the replica with
    the fewest sessions. When a replica has two sessions more than another, as after the return of
    a lost one, sessions move over one by one, each between two of its blocks.

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
        self.moves = 0

    def update(self, replicas: Iterable[str]) -> None:
        """Set the replicas that run."""
        with self._lock:
            self._replicas = tuple(sorted(replicas))
            self._draining &= set(self._replicas)
            self._suspected = {r: t for r, t in self._suspected.items() if r in self._replicas}

    def choose(self, session: str) -> str | None:
        """The replica for the next call of a session; None where no replica runs."""
        with self._lock:
            if (pinned := self._pins.get(session)) is not None:
                return pinned if pinned in self._replicas else None
            usable = self._usable()
            if not usable:
                return None
            counts = Counter(dict.fromkeys(usable, 0))
            counts.update(home for home in self._homes.values() if home in usable)
            least = min(usable, key=lambda replica: (counts[replica], replica))
            home = self._homes.get(session)
            if home in usable and counts[home] - counts[least] < 2:
                return home
            if home is not None:
                self.moves += 1
            self._homes[session] = least
            return least

    def may_move(self, session: str) -> bool:
        """Whether a session's replica is avoided or gone, and another one can be asked."""
        with self._lock:
            home, usable = self._homes.get(session), self._usable()
            return session not in self._pins and bool(usable) and home not in usable

    def pin(self, session: str, replica: str) -> None:
        """Send the calls of a session to one replica only, until `forget`."""
        with self._lock:
            self._pins[session] = replica

    def suspect(self, replica: str, seconds: float = SUSPECT_SECONDS) -> None:
        """Avoid a replica that did not answer in time, for a while."""
        with self._lock:
            self._suspected[replica] = self._clock() + seconds

    def trust(self, replica: str) -> None:
        """Use a replica again that has answered."""
        with self._lock:
            self._suspected.pop(replica, None)

    def drain(self, replica: str) -> bool:
        """Move all sessions of a replica away, with their next blocks; False if it is unknown."""
        with self._lock:
            if replica not in self._replicas:
                return False
            self._draining.add(replica)
            return True

    def forget(self, session: str) -> None:
        """Remove a session that has ended."""
        with self._lock:
            self._homes.pop(session, None)
            self._pins.pop(session, None)

    def home(self, session: str) -> str | None:
        """The replica of a session's last call."""
        with self._lock:
            return self._pins.get(session, self._homes.get(session))

    def replicas(self) -> dict[str, dict[str, object]]:
        """The running replicas, each with its sessions and whether it is avoided."""
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

    def _usable(self) -> tuple[str, ...]:
        """The replicas for sessions: without draining and suspected ones, if others are left."""
        now = self._clock()
        staying = [r for r in self._replicas if r not in self._draining] or list(self._replicas)
        trusted = [r for r in staying if self._suspected.get(r, now) <= now]
        return tuple(trusted or staying)


HOMES = HomeTable()
"""The table of this process, which its router and its gateway share."""
