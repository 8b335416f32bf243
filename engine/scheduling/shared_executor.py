"""The executor of a session that shares a device with others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from sana_stream.engine.sampling.calls import Steps
from sana_stream.engine.sampling.decode import DeliverPart
from sana_stream.engine.session.executor import BlockWork

from .tasks import StreamRequest, Task, single_step
from .text_cache import TextCache

T = TypeVar("T")


class TaskQueue(Protocol):
    """Takes tasks for the one thread that runs the networks."""

    def enter(self, stream: StreamRequest, check: Callable[[], None] | None) -> None:
        """Wait until a stream runs, with its memory on the device.

        Args:
            stream: of the block.
            check: what it raises ends the waiting; `None`: a sampled block, which does not wait.

        Raises:
            CancelledError: the stream is detached.
        """
        ...

    def leave(self, stream: StreamRequest) -> None:
        """End what `enter` began."""
        ...

    def submit(self, stream: StreamRequest, task: Task) -> None:
        """Take a task of a stream."""
        ...

    def wake(self) -> None:
        """Apply the checks of all tasks."""
        ...

    def set_idle(self, stream: StreamRequest, idle: bool) -> None:
        """Give a stream's share of the device to others, or claim it again."""
        ...

    def place(self, stream: StreamRequest) -> int:
        """As `Scheduler.place`."""
        ...


class SharedExecutor:
    """Runs a session's networks through a queue of tasks.

    Prompts are embedded and first noise is drawn on the calling thread, and the parts of a block
    are delivered there, so that neither holds up other streams.
    """

    is_concurrent = False

    def __init__(self, queue: TaskQueue, stream: StreamRequest, text: TextCache) -> None:
        self.stream = stream
        self._queue = queue
        self._text = text

    def embed(self, prompt: str, negative: bool) -> tuple[Tensor, Tensor]:
        return self._text(prompt, negative)

    def sample(self, steps: Steps[T], check: Callable[[], None], work: BlockWork) -> T:
        try:
            self._queue.enter(self.stream, check)
        except BaseException:
            steps.close()
            raise
        try:
            try:
                with torch.no_grad():
                    check()
                    calls = next(steps)
            except BaseException:
                steps.close()
                raise
            return self._wait(Task(steps, work, calls, check))
        finally:
            self._queue.leave(self.stream)

    def decode(
        self,
        decode: Callable[[DeliverPart | None], T],
        deliver: DeliverPart | None,
        work: BlockWork,
    ) -> T:
        self._queue.enter(self.stream, None)
        try:
            if deliver is None:
                return self._wait(Task(single_step(lambda: decode(None)), work))
            parts: SimpleQueue[tuple[Tensor, int] | None] = SimpleQueue()
            take = partial(decode, lambda frames, at: parts.put((frames, at)))
            task = Task(single_step(take), work)
            task.future.add_done_callback(lambda _: parts.put(None))
            self._queue.submit(self.stream, task)
            while (part := parts.get()) is not None:
                deliver(*part)
            return task.future.result()
        finally:
            self._queue.leave(self.stream)

    def wake(self) -> None:
        self._queue.wake()

    def set_deadline(self, deadline: float | None) -> None:
        self.stream.deadline = deadline
        self._queue.wake()

    def set_idle(self, idle: bool) -> None:
        self._queue.set_idle(self.stream, idle)

    @property
    def place(self) -> int:
        return self._queue.place(self.stream)

    def _wait(self, task: Task) -> Any:
        self._queue.submit(self.stream, task)
        try:
            return task.future.result()
        finally:
            if not task.is_done:  # such as KeyboardInterrupt
                task.cancel()
                self._queue.wake()
