"""A clock, a runner and blocks for the scheduler that take no real time."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from sana_stream.engine.scheduling.admission import Demand, Limits
from sana_stream.engine.scheduling.scheduler import Scheduler
from sana_stream.engine.scheduling.tasks import StreamRequest, Task

DECODE = 0.5  # seconds


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class FakeCall:
    seconds: float = 1.0
    form: str = "block"


class FakeRunner:
    """Takes the calls' seconds of the clock."""

    def __init__(self, clock: FakeClock, max_batch_size: int = 1) -> None:
        self.max_batch_size = max_batch_size
        self.batches: list[int] = []
        self._clock = clock

    def run(self, calls: Sequence[FakeCall]) -> list[None]:
        self._clock.now += sum(call.seconds for call in calls)
        self.batches.append(len(calls))
        return [None] * len(calls)


@dataclass(frozen=True)
class FakeWork:
    kind: str
    steps: int
    items: int = 1

    @property
    def form(self) -> tuple[Any, ...]:
        return self.kind, (1, 1, 1, 1, 1), self.items


class Device:
    """A scheduler with a fake clock and runner."""

    def __init__(self, limits: Limits | None = None, batch: int = 1, max_queue: int = 4) -> None:
        self.clock = FakeClock()
        self.runner = FakeRunner(self.clock, batch)
        limits = limits or Limits(10_000)
        self.scheduler = Scheduler(self.runner, limits, max_queue, self.clock)
        self.closed = 0
        self._number = 0

    def stream(self, *demand: float, weight: float = 1.0) -> StreamRequest:
        self._number += 1
        return StreamRequest(self._number, Demand(*demand), weight)  # type: ignore[arg-type]

    def sample(self, stream: StreamRequest, steps: int = 5, items: int = 1) -> Task:
        def block() -> Generator[tuple[FakeCall, ...], None, str]:
            try:
                for _ in range(steps):
                    yield (FakeCall(),) * items
                return "sampled"
            finally:
                self.closed += 1

        generator = block()
        task = Task(generator, FakeWork("sample", steps, items), next(generator))
        self.scheduler.submit(stream, task)
        return task

    def decode(self, stream: StreamRequest) -> Task:
        def block() -> Generator[tuple[FakeCall, ...], None, str]:
            self.clock.now += DECODE
            return "decoded"
            yield ()

        task = Task(block(), FakeWork("decode", 1))
        self.scheduler.submit(stream, task)
        return task

    def block(self, stream: StreamRequest, steps: int = 5) -> float:
        """Make one block of a stream while nothing else asks; returns its end."""
        for task in (self.sample(stream, steps), self.decode(stream)):
            while not task.is_done:
                self.scheduler.step()
        return self.clock.now
