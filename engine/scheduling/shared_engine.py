"""One engine for several streams: a thread of its own runs the networks for all of them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from functools import partial
from itertools import count
from threading import Condition, Thread, current_thread
from typing import Self, TypeVar

import torch

from sana_stream._arguments import ARGUMENTS
from sana_stream.engine.device import is_single_threaded
from sana_stream.engine.lane import DirectLane
from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.sampling.denoise import embed_prompt
from sana_stream.engine.session.executor import BlockWork
from sana_stream.engine.session.session import Session
from sana_stream.engine.session.settings import resolve_settings
from sana_stream.engine.snapshot.snapshot import SessionSettings
from sana_stream.errors import ConfigError

from .admission import Admission, Limits
from .batch_size import DeviceRunner, measure_batch_size, measure_costs
from .demand import demand_of, memory_for_streams
from .scheduler import Scheduler, SchedulerOutput, SchedulerStats
from .shared_executor import SharedExecutor
from .swap import Swap, memory_of
from .tasks import StreamRequest, Task, single_step
from .text_cache import TextCache

T = TypeVar("T")


class SharedEngine:
    """Runs several sessions of one engine on its device.

    Each session is used as before, on a thread of its own; its blocks equal those of the session
    alone. Enter the context before sessions are attached; leaving it detaches all of them. Inside
    it images and clips that sessions of the engine begin with are encoded between their blocks.

        with SharedEngine(engine, max_streams=8) as shared:
            session = shared.attach(engine.session("a red boat"))
            block = next(session)

    Args:
        engine: the loaded model.
        max_streams: the most streams that run at once.
        max_queue: the most streams that wait.
        max_batch_size: the most network calls in one batch; 1 is time slicing. `None`: measured
            when the context is entered.
        settings: of a typical stream, for measuring the model's calls; default: the preset's.
        always_one: run a stream that needs more memory than there is, by estimate, while no other
            one runs, instead of refusing it.

    Raises:
        ConfigError: a number out of range, or a device that only one thread may use.
    """

    def __init__(
        self,
        engine: LoadedModel,
        max_streams: int = 8,
        max_queue: int = 16,
        max_batch_size: int | None = 1,
        settings: SessionSettings | None = None,
        always_one: bool = False,
    ) -> None:
        ARGUMENTS.whole("max_streams", max_streams, 1, 10_000)
        ARGUMENTS.whole("max_queue", max_queue, 0, 10_000)
        if max_batch_size is not None:
            ARGUMENTS.whole("max_batch_size", max_batch_size, 1, 64)
        if is_single_threaded(engine.device):
            raise ConfigError(
                f"device {engine.device.type} is for one stream at a time; use cuda or cpu"
            )
        if engine.peers.devices > 1:
            raise ConfigError("an engine on several devices has one stream at a time: use Engine")
        self._engine = engine
        self._runner = DeviceRunner(engine, max_batch_size or 1)
        self._measure_batches = max_batch_size is None
        self._settings = settings or resolve_settings(engine.preset, engine.size_multiple)
        limits = Limits(max_streams, memory_for_streams(engine), always_one=always_one)
        self._scheduler = Scheduler(self._runner, limits, max_queue)
        self._text = TextCache(partial(embed_prompt, engine))
        self._swap = Swap(engine.device)
        self._changed = Condition()  # guards all that follows, and the scheduler
        self._attached: dict[int, tuple[Session, SharedExecutor]] = {}
        self._busy: dict[int, int] = {}  # calls of `enter` without `leave`, by stream
        self._numbers = count()
        self._executing: SchedulerOutput | None = None
        self._closing = False
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        """Measure the model's calls and start the thread.

        Raises:
            ConfigError: it was entered before.
        """
        if self._thread is not None:
            raise ConfigError("a SharedEngine is entered once: make another one")
        measure_costs(self._engine, self._settings, self._scheduler.costs)
        if self._measure_batches:
            most = self._scheduler.limits.max_streams
            size = measure_batch_size(self._engine, self._settings, most)
            self._runner.max_batch_size = size
        self._thread = Thread(target=self._work, name="sana-stream-networks", daemon=True)
        self._thread.start()
        self._engine.lane = self
        return self

    def __exit__(self, *error: object) -> None:
        """Detach all sessions and end the thread."""
        if self._engine.lane is self:
            self._engine.lane = DirectLane()
        for session, _ in list(self._attached.values()):
            self.detach(session)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def admit(self, settings: SessionSettings, fps: float, paced: bool) -> Admission:
        """Whether a stream would run at once, next to those that run.

        Args:
            settings: of the stream.
            fps: at which it is watched.
            paced: whether it is watched; a file takes what time is left.
        """
        demand = demand_of(self._engine, settings, self._scheduler.costs, fps, paced)
        with self._changed:
            return self._scheduler.admit(demand)

    def fitting(self, utilization: float) -> int:
        """How many streams have enough time that each need this share of it, as in a `Demand`."""
        return self._scheduler.limits.fitting(utilization)

    def attach(
        self,
        session: Session,
        weight: float = 1.0,
        *,
        fps: float | None = None,
        paced: bool = False,
    ) -> Session:
        """Run a session's networks here from its next block on; returns the session.

        A stream that does not fit yet waits: its first block comes once it does.

        Args:
            session: of this engine.
            weight: its share of the time that streams with a deadline leave.
            fps: at which it is watched; default: the preset's.
            paced: whether it is watched, so that its share of time is kept for it.

        Raises:
            ConfigError: it would not fit alone, or is attached already, or is of another engine.
            QueueFullError: it would have to wait, and the queue is full.
        """
        weight = ARGUMENTS.number("weight", weight, above=0)
        if not session.is_of(self._engine):
            raise ConfigError("the session is of another engine: attach one of this engine")
        settings = session.snapshot().settings
        fps = fps or self._engine.preset.fps
        demand = demand_of(self._engine, settings, self._scheduler.costs, fps, paced)
        frames = settings.block_frames * self._engine.vae.config.temporal_factor
        with self._changed:
            if self._closing or self._thread is None:
                raise ConfigError("the SharedEngine is not entered: write `with SharedEngine(...)`")
            if self._found(session) is not None:
                raise ConfigError("the session is attached already: detach it first")
            stream = StreamRequest(next(self._numbers), demand, weight, frames / fps)
            self._scheduler.add(stream)
            executor = SharedExecutor(self, stream, self._text)
            self._attached[stream.id] = session, executor
            self._make_room()
        session.run_on(executor)
        return session

    def detach(self, session: Session) -> None:
        """Run a session's networks on its own threads again.

        A block that is being sampled or decoded ends with CancelledError, within one network call.
        A session that is not attached stays as it is.
        """
        with self._changed:
            stream = self._found(session)
            if stream is None:
                return
            del self._attached[stream.id]
            session.run_on(None)
            tasks = self._scheduler.abort(stream.id)
            for task in tasks:
                task.cancel()
                if not self._is_executing(task):
                    task.is_cancelled()
            self._changed.notify_all()
            self._changed.wait_for(lambda: all(task.is_done for task in tasks))
            self._swap.back(stream.id)

    def set_idle(self, stream: StreamRequest, idle: bool) -> None:
        """As `TaskQueue.set_idle`.

        A block that is being sampled rests, one that is sampled is still decoded. The memory of an
        idle stream is moved to the host where others need it. Where the stream does not fit any
        more, it waits before all others.
        """
        with self._changed:
            if idle:
                self._scheduler.pause(stream.id)
            else:
                self._scheduler.resume(stream.id)
            self._make_room()
            self._changed.notify_all()

    def place(self, stream: StreamRequest) -> int:
        """As `TaskQueue.place`."""
        with self._changed:
            return self._scheduler.place(stream.id)

    def stats(self) -> SchedulerStats:
        """What is running and waiting, and what was late."""
        with self._changed:
            return self._scheduler.stats

    def enter(self, stream: StreamRequest, check: Callable[[], None] | None) -> None:
        """As `TaskQueue.enter`."""
        with self._changed:
            while stream.id in self._attached and stream.id not in self._scheduler.running:
                if check is None:
                    break
                check()
                self._changed.wait()
            if stream.id not in self._attached:
                raise CancelledError
            self._swap.back(stream.id)
            self._busy[stream.id] = self._busy.get(stream.id, 0) + 1

    def leave(self, stream: StreamRequest) -> None:
        """As `TaskQueue.leave`."""
        with self._changed:
            left = self._busy.pop(stream.id) - 1
            if left:
                self._busy[stream.id] = left
            self._changed.notify_all()

    def submit(self, stream: StreamRequest, task: Task) -> None:
        """As `TaskQueue.submit`."""
        with self._changed:
            if stream.id not in self._attached:
                task.cancel()
                task.is_cancelled()
                return
            self._scheduler.submit(stream, task)
            self._changed.notify_all()

    def run(self, kind: str, size: int, work: Callable[[], T]) -> T:
        """As `DeviceLane.run`."""
        task = Task(single_step(work), BlockWork(kind, (size,), 1))
        with self._changed:
            direct = self._closing or self._thread in (None, current_thread())
            if not direct:
                self._scheduler.submit_single(task)
                self._changed.notify_all()
        return work() if direct else task.future.result()

    def wake(self) -> None:
        """As `TaskQueue.wake`."""
        with self._changed:
            self._changed.notify_all()

    @torch.no_grad()
    def _work(self) -> None:
        """Run the networks until the context is left."""
        while True:
            with self._changed:
                output = self._scheduler.schedule()
                while not output.tasks:
                    if self._closing:
                        return
                    self._changed.wait()
                    output = self._scheduler.schedule()
                self._executing = output
            seconds = self._scheduler.execute(output)
            with self._changed:
                self._executing = None
                self._scheduler.finish(output, seconds)
                for task in output.tasks:
                    task.is_cancelled()  # ends those that were cancelled meanwhile
                self._changed.notify_all()
            del output  # nothing keeps a finished block's tensors while there is nothing to do

    def _is_executing(self, task: Task) -> bool:
        return self._executing is not None and task in self._executing.tasks

    def _found(self, session: Session) -> StreamRequest | None:
        found = (pair[1].stream for pair in self._attached.values() if pair[0] is session)
        return next(found, None)

    def _make_room(self) -> None:
        """Move memory of paused streams to the host as far as the running ones need theirs."""
        limit = self._scheduler.limits.memory_bytes
        swapped, running = self._scheduler.swapped.values(), self._scheduler.running.values()
        if limit is None or not swapped:
            return
        every = [stream.demand for stream in (*swapped, *running)]
        needed = sum(demand.memory_bytes for demand in every)
        needed += max((demand.working_bytes for demand in every), default=0)
        needed -= sum(self._swap.bytes_away(stream.id) for stream in swapped)
        idle = sorted((s for s in swapped if not self._busy.get(s.id)), key=lambda s: s.last_due)
        if needed > limit:
            sessions = [(s.id, self._attached[s.id][0]) for s in idle]
            memory = [(id_, memory_of(s.snapshot(), s.held_tensors)) for id_, s in sessions]
            self._swap.make_room(needed - limit, memory)
