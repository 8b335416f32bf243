"""One GPU of a simulated fleet: the blocks that are asked of it, and whose turn it is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .costs import BlockCost


@dataclass(slots=True)
class Stream:
    """One viewer's stream.

    Attributes:
        length: in blocks; the stream ends after them.
        held: the GPU that has the stream in its memory.
        played_out: when the viewer has nothing left to play.
    """

    name: str
    length: int
    block: int = 0  # the next one
    held: str | None = None
    played_out: float = 0.0
    generation: float = 0.0  # seconds from asking for the last block until it came


@dataclass(slots=True)
class Request:
    """A block that was asked for; `work` is the time that the GPU still needs for it."""

    stream: Stream
    asked: float
    work: float = 0.0

    @property
    def deadline(self) -> float:
        """When the viewer has nothing left to play."""
        return self.stream.played_out


@dataclass(slots=True)
class Gpu:
    """A GPU, idle or with one request in work and others waiting.

    Attributes:
        since: when the request in work began or continued.
        busy: seconds of work so far.
        version: changes with every decision; the times of older ones do not count any more.
    """

    name: str
    cost: BlockCost
    policy: str
    current: Request | None = None
    waiting: list[Request] = field(default_factory=list)
    since: float = 0.0
    busy: float = 0.0
    version: int = 0

    def add(self, request: Request, now: float) -> float | None:
        """Take a request; returns when the next decision is due, None where it was known."""
        self.waiting.append(request)
        if self.current is None:
            return self.decide(now)
        if self.policy == "edf" and len(self.waiting) == 1:  # until now it ran without decisions
            self.version += 1
            return min(self._boundary(now), self.since + self.current.work)
        return None

    def decide(self, now: float) -> float | None:
        """Choose what runs from now on; returns when the next decision is due, None if idle."""
        self.version += 1
        self._advance(now)
        if self.policy == "edf" and self.current is not None and self.waiting:
            first = self.waiting[self._next()]
            late = first.deadline - now - first.work < self._step
            if late and first.deadline < self.current.deadline:
                self.waiting.append(self.current)
                self.current = None
        if self.current is None and self.waiting:
            self.current = self.waiting.pop(self._next())
        if self.current is None:
            return None
        alone = self.policy == "fifo" or not self.waiting
        return now + (self.current.work if alone else min(self._step, self.current.work))

    def take_finished(self, now: float) -> Request | None:
        """The request whose work is done, which leaves the GPU."""
        self._advance(now)
        done = self.current
        if done is None or done.work > 1e-9:
            return None
        self.current = None
        return done

    def stop(self, now: float) -> list[Request]:
        """Lose the GPU; returns its requests."""
        self._advance(now)
        lost = [*([self.current] if self.current else []), *self.waiting]
        self.current, self.waiting = None, []
        self.version += 1
        return lost

    @property
    def _step(self) -> float:
        """The time of one call; decoding counts as one too."""
        return self.cost.seconds / (self.cost.calls + 1)

    def _boundary(self, now: float) -> float:
        """The end of the call that is running."""
        return self.since + math.ceil((now - self.since) / self._step) * self._step

    def _next(self) -> int:
        """The index of the request whose turn it is."""
        if self.policy == "fifo":
            return 0
        return min(range(len(self.waiting)), key=lambda index: self.waiting[index].deadline)

    def _advance(self, now: float) -> None:
        if self.current is not None:
            done = now - self.since
            self.current.work -= done
            self.busy += done
        self.since = now
