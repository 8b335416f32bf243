"""Blocks in hand and the streams that they belong to, as the scheduler sees them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from .admission import Demand

T = TypeVar("T")


class FormedCall(Protocol):
    """A network call, of which only its form is read."""

    @property
    def form(self) -> Any: ...


class Cost(Protocol):
    """What is known of a block before it is made, as `BlockWork`."""

    @property
    def kind(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def form(self) -> tuple: ...


class StepGenerator(Protocol):
    """A generator of calls, as `Steps`."""

    def send(self, value: Any, /) -> Any: ...
    def close(self) -> None: ...


class Task:
    """One block that is sampled or decoded.

    Args:
        steps: yields calls and is sent their results; it has yielded `calls`, or has not begun.
        cost: of the block.
        calls: the first ones; none where the generator has not begun.
        check: raises what ends the task before its next call.
    """

    def __init__(
        self,
        steps: StepGenerator,
        cost: Cost,
        calls: Sequence[FormedCall] | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.cost = cost
        self.calls: Sequence[FormedCall] = calls or ()
        self.future: Future[Any] = Future()
        self.steps_done = 0
        self._steps = steps
        self._check = check
        self._begun = calls is not None
        self._cancelled = False

    @property
    def is_done(self) -> bool:
        """Whether it has a result or an error."""
        return self.future.done()

    @property
    def is_started(self) -> bool:
        """Whether one of its steps has run."""
        return self.steps_done > 0

    @property
    def steps_left(self) -> int:
        """Steps still to run, at least 1."""
        return max(1, self.cost.steps - self.steps_done)

    @property
    def form(self) -> Any:
        """What must be equal in tasks that share a batch; None: it runs alone."""
        return self.calls[0].form if self.calls else None

    def is_cancelled(self) -> bool:
        """Whether it is over; ends it where its check raises."""
        if not self.is_done:
            try:
                if self._cancelled:
                    raise CancelledError
                self._check()
            except BaseException as error:
                self.fail(error)
        return self.is_done

    def advance(self, results: Sequence[Any]) -> None:
        """Send the results of the last calls and take the next ones."""
        try:
            self.calls = self._steps.send(results if self._begun else None)
            self._begun = True
            self.steps_done += 1
        except StopIteration as end:
            self.steps_done += 1
            self.future.set_result(end.value)
        except BaseException as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """End the task with an error and close its generator."""
        if not self.is_done:
            try:
                self._steps.close()
            finally:
                self.future.set_exception(error)

    def cancel(self) -> None:
        """End the task before its next call, which `is_cancelled` does, from any thread."""
        self._cancelled = True


def single_step(work: Callable[[], T]) -> Generator[tuple[()], None, T]:
    """A generator that does all its work in its first step and asks for no calls."""
    return work()
    yield ()  # makes it a generator


@dataclass(eq=False)
class StreamRequest:
    """A stream that wants the device: how much of it, how urgently, and its blocks in hand."""

    id: int
    demand: Demand = field(default_factory=Demand)
    weight: float = 1.0  # share of a stream without a deadline
    block_seconds: float = 0.0  # of video in one block
    deadline: float | None = None  # when its viewer has nothing left to play
    is_idle: bool = False  # it does not want the device now
    last_due: float = 0.0  # when it last had a block in hand
    served: float = 0.0  # seconds of the device over its weight
    tasks: list[Task] = field(default_factory=list)

    def deadline_of(self, task: Task) -> float | None:
        """When a task must be done: a block later where the block before is still being decoded."""
        if self.deadline is None:
            return None
        decoding = any(other.cost.kind == "decode" for other in self.tasks if other is not task)
        return self.deadline + (self.block_seconds if decoding else 0.0)
