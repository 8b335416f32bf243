"""Whose turn it is on one device: the scheduler of many streams.

It owns no tensor and no thread, and a fake clock and a fake runner are enough to test it.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sana_stream.errors import ConfigError, QueueFullError

from .admission import Admission, Demand, Limits
from .costs import Costs
from .tasks import StreamRequest, Task

_SINGLE = -1  # the id of no stream


class Runner(Protocol):
    """Runs calls, as `ModelRunner`."""

    max_batch_size: int

    def run(self, calls: Sequence[Any], /) -> Sequence[Any]:
        """The results of the calls, in their order."""
        ...


@dataclass(frozen=True, slots=True)
class SchedulerOutput:
    """The tasks whose next calls run now, as one batch."""

    tasks: tuple[Task, ...]
    streams: tuple[StreamRequest, ...]  # of each task


@dataclass(frozen=True, slots=True)
class SchedulerStats:
    """What the scheduler holds and has done."""

    waiting: int  # streams in the queue
    running: int
    swapped: int  # paused streams, whose memory may rest on the host
    utilization: float  # of the device's time, as admitted
    deadline_misses: int  # blocks that were decoded after their viewer had nothing left to play
    batch_size: int  # most calls at once


class Scheduler:
    """Chooses the calls of the next step.

    - Earliest deadline first, by slack: `deadline - now - measured time still needed`.
    - A started block runs to its end, decoding included, unless another one would be late then:
      its slack is less than the time of a step.
    - Streams without a deadline share what is left by weight (stride scheduling).
    - Streams run as far as their demands fit; the others wait in the order in which they came.
    - Single calls that belong to no block, such as the encoding of an image, are due at once.

    Not thread-safe: `schedule` and `finish` are called under the caller's lock, `execute` without.

    Args:
        runner: runs calls.
        limits: what the running streams may take together.
        max_queue: the most streams that wait.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        runner: Runner,
        limits: Limits,
        max_queue: int = 16,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self.waiting: deque[StreamRequest] = deque()
        self.running: dict[int, StreamRequest] = {}
        self.swapped: dict[int, StreamRequest] = {}
        self.costs = Costs()
        self._runner = runner
        self._max_queue = max_queue
        self._clock = clock
        self._current: Task | None = None
        self._single = StreamRequest(_SINGLE)  # has the calls that belong to no block
        self._virtual = 0.0  # `served` of the last stream without a deadline, as its block began
        self._misses = 0

    def admit(self, demand: Demand) -> Admission:
        """Decide whether a stream would run at once."""
        return self.limits.admit(demand, [each.demand for each in self.running.values()])

    def add(self, stream: StreamRequest) -> int:
        """Let a stream run, or wait where it does not fit yet.

        Returns:
            Its place in the queue, from 1; 0 where it runs.

        Raises:
            ConfigError: it would not even fit alone.
            QueueFullError: it would have to wait, and the queue is full.
        """
        admission = self.admit(stream.demand)
        if not admission.possible:
            raise ConfigError(f"the stream does not fit: {admission.reason}")
        stream.last_due = self._clock()
        if admission.fits and self._first_waiting() is None:
            self._run(stream)
            return 0
        if len(self.waiting) >= self._max_queue:
            why = admission.reason or "other streams wait before it"
            raise QueueFullError(
                f"{why}, and {len(self.waiting)} wait already, of at most {self._max_queue};"
                " try again later"
            )
        self.waiting.append(stream)
        return len(self.waiting)

    def place(self, id: int) -> int:  # noqa: A002
        """A stream's place in the queue, from 1; 0 where it does not wait."""
        return next((n for n, each in enumerate(self.waiting, 1) if each.id == id), 0)

    def abort(self, id: int) -> list[Task]:  # noqa: A002
        """Remove a stream; returns its tasks in hand, which the caller cancels.

        A task whose call is running must be cancelled after `finish`.
        """
        stream = self.running.pop(id, None) or self.swapped.pop(id, None)
        if stream is None:
            stream = next((each for each in self.waiting if each.id == id), None)
            if stream is None:
                return []
            self.waiting.remove(stream)
        tasks, stream.tasks = stream.tasks, []
        if self._current in tasks:
            self._current = None
        self._run_waiting()
        return tasks

    def pause(self, id: int) -> None:  # noqa: A002
        """Take a stream's share of the device back; a block that is sampled rests.

        One that waits keeps its place in the queue, and lets others pass.
        """
        stream = self.running.pop(id, None)
        if stream is not None:
            self.swapped[id] = stream
        for each in self.waiting:
            each.is_idle = each.is_idle or each.id == id
        self._run_waiting()

    def resume(self, id: int) -> int:  # noqa: A002
        """Let a paused stream run again, or wait before all others where it does not fit now.

        Returns:
            Its place in the queue, from 1; 0 where it runs.
        """
        stream = self.swapped.pop(id, None)
        if stream is None:
            for each in self.waiting:
                each.is_idle = each.is_idle and each.id != id
            self._run_waiting()
            return self.place(id)
        if self.admit(stream.demand).fits:
            self._run(stream)
            return 0
        self.waiting.appendleft(stream)
        return 1

    def submit(self, stream: StreamRequest, task: Task) -> None:
        """Take a block in hand; it runs once its stream does."""
        if not stream.tasks:
            stream.served = max(stream.served, self._virtual)
        stream.tasks.append(task)
        stream.last_due = self._clock()

    def submit_single(self, task: Task) -> None:
        """Take a call that belongs to no block."""
        if not self._single.tasks:
            self._single.deadline = self._clock()
        self._single.tasks.append(task)

    def schedule(self) -> SchedulerOutput:
        """The tasks whose calls run next; none where there is nothing to do.

        Tasks that were cancelled end here.
        """
        for stream in self._streams():
            stream.tasks = [task for task in stream.tasks if not task.is_cancelled()]
        ready = [
            (stream, task)
            for stream in self._streams()
            for task in stream.tasks
            if stream.id in self.running or task.cost.kind != "sample"
        ]
        if not ready:
            return SchedulerOutput((), ())
        now = self._clock()
        ready.sort(key=lambda pair: self._urgency(*pair, now))
        chosen = [self._lead(ready, now)]
        lead = chosen[0][1]
        room = self._runner.max_batch_size - len(lead.calls)
        for stream, task in ready:
            same = task is not lead and task.form is not None and task.form == lead.form
            if same and len(task.calls) <= room:
                chosen.append((stream, task))
                room -= len(task.calls)
        if lead.cost.kind == "sample":
            self._current = lead
            stream = chosen[0][0]
            if stream.deadline is None and not lead.is_started:
                self._virtual = max(self._virtual, stream.served)
        return SchedulerOutput(
            tuple(task for _, task in chosen), tuple(stream for stream, _ in chosen)
        )

    def execute(self, output: SchedulerOutput) -> float:
        """Run the tasks' calls and send them the results; returns the seconds it took."""
        begun = self._clock()
        calls = [call for task in output.tasks for call in task.calls]
        try:
            results: Sequence[Any] = self._runner.run(calls) if calls else []
        except BaseException as error:
            together = len(output.tasks) > 1  # there may be no memory for all of them at once
            for task, stream in zip(output.tasks, output.streams, strict=True):
                if together:
                    self.execute(SchedulerOutput((task,), (stream,)))
                else:
                    task.fail(error)
            return self._clock() - begun
        for task in output.tasks:
            count = len(task.calls)
            own, results = results[:count], results[count:]
            task.advance(own)
        return self._clock() - begun

    def finish(self, output: SchedulerOutput, seconds: float) -> None:
        """Account for what `execute` did."""
        now, share = self._clock(), seconds / max(1, len(output.tasks))
        for task, stream in zip(output.tasks, output.streams, strict=True):
            self.costs.measured(task.cost.form, share)
            stream.served += share / stream.weight
            stream.last_due = now
            if not task.is_done:
                continue
            if task in stream.tasks:
                stream.tasks.remove(task)
            late = stream.deadline is not None and now > stream.deadline
            self._misses += late and task.cost.kind == "decode"
        if self._current is not None and self._current.is_done:
            self._current = None

    def step(self) -> bool:
        """Schedule, run and hand back; returns False where there was nothing to do."""
        output = self.schedule()
        if not output.tasks:
            return False
        self.finish(output, self.execute(output))
        return True

    def slack(self, stream: StreamRequest, task: Task, now: float) -> float:
        """Seconds that a task can still wait; infinite without a deadline."""
        deadline = stream.deadline_of(task)
        return math.inf if deadline is None else deadline - now - self._remaining(task)

    @property
    def stats(self) -> SchedulerStats:
        """What the scheduler holds and has done."""
        return SchedulerStats(
            len(self.waiting),
            len(self.running),
            len(self.swapped),
            sum(stream.demand.utilization for stream in self.running.values()),
            self._misses,
            self._runner.max_batch_size,
        )

    def _remaining(self, task: Task) -> float:
        """Measured seconds until the task's block is decoded."""
        seconds = task.steps_left * self.costs.seconds(task.cost.form)
        if task.cost.kind == "sample":
            seconds += self.costs.seconds(("decode", task.cost.form[1], 1))
        return seconds

    def _urgency(self, stream: StreamRequest, task: Task, now: float) -> tuple[float, ...]:
        decodes = task.cost.kind == "decode"
        return self.slack(stream, task, now), stream.served, not decodes, stream.id

    def _lead(
        self, ready: list[tuple[StreamRequest, Task]], now: float
    ) -> tuple[StreamRequest, Task]:
        """The task that must run next, of tasks in the order of urgency."""
        begun = [pair for pair in ready if pair[1].is_started]
        current = next((pair for pair in begun if pair[1] is self._current), None)
        current = current or next(iter(begun), None)
        decoding = [pair for pair in ready if pair[1].cost.kind == "decode"]
        if current is not None:
            step = self.costs.seconds(current[1].cost.form)
            if self.slack(*current, now) < step:
                return current
            if self.slack(*ready[0], now) < step:
                return ready[0]
        if decoding:  # which ends a block that was started
            return decoding[0]
        return current or ready[0]

    def _streams(self) -> list[StreamRequest]:
        return [self._single, *self.running.values(), *self.swapped.values(), *self.waiting]

    def _run(self, stream: StreamRequest) -> None:
        stream.served = max(stream.served, self._virtual)
        self.running[stream.id] = stream

    def _run_waiting(self) -> None:
        while (stream := self._first_waiting()) and self.admit(stream.demand).fits:
            self.waiting.remove(stream)
            self._run(stream)

    def _first_waiting(self) -> StreamRequest | None:
        return next((stream for stream in self.waiting if not stream.is_idle), None)
