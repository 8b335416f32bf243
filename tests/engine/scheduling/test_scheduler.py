"""Whose turn it is, with a fake clock and a fake runner."""

from __future__ import annotations

import gc
import math
import sys
from concurrent.futures import CancelledError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sana_stream.engine.scheduling.admission import Demand, Limits
from sana_stream.engine.scheduling.batch_size import smallest_good
from sana_stream.engine.scheduling.costs import MOST_FORMS, Costs
from sana_stream.engine.scheduling.tasks import StreamRequest, Task, single_step
from sana_stream.errors import ConfigError, QueueFullError

from .fakes import DECODE, Device, FakeWork

STEPS = 5
BLOCK = STEPS + DECODE  # seconds of the device a block


class Watched:
    """A stream that is played block after block, each asked for while the one before plays."""

    def __init__(self, device: Device, period: float) -> None:
        self.device = device
        self.period = period
        self.stream = device.stream(BLOCK / period)
        self.task: Task | None = None
        self.next_ask = 0.0
        self.made = 0
        device.scheduler.add(self.stream)

    def act(self) -> None:
        task, now = self.task, self.device.clock.now
        if task is not None and task.is_done:
            task.future.result()
            if task.cost.kind == "sample":
                self.task = self.device.decode(self.stream)
            else:
                self.task, self.made = None, self.made + 1
        elif task is None and now >= self.next_ask:
            self.stream.deadline = self.next_ask + self.period
            self.next_ask += self.period
            self.task = self.device.sample(self.stream, STEPS)


class File:
    """A stream without a deadline, which always wants another block."""

    def __init__(self, device: Device, weight: float) -> None:
        self.device = device
        self.stream = device.stream(weight=weight)
        self.task: Task | None = None
        self.made = 0
        device.scheduler.add(self.stream)

    def act(self) -> None:
        if self.task is not None and self.task.is_done and self.task.cost.kind == "sample":
            self.task = self.device.decode(self.stream)
        elif self.task is None or self.task.is_done:
            self.made += self.task is not None
            self.task = self.device.sample(self.stream, STEPS)


def run(device: Device, players: list[Watched | File], seconds: float) -> None:
    while device.clock.now < seconds:
        for player in players:
            player.act()
        if not device.scheduler.step():
            device.clock.now += 0.25


@settings(max_examples=15, deadline=None)
@given(
    shares=st.lists(st.floats(0.04, 0.25), min_size=1, max_size=6),
    weights=st.lists(st.sampled_from([1.0, 2.0]), max_size=2),
)
def test_no_deadline_is_missed_below_85_percent(shares: list[float], weights: list[float]):
    device = Device(Limits(100))
    watched: list[Watched | File] = []
    for share in shares:
        if device.scheduler.admit(Demand(share)).fits:
            watched.append(Watched(device, BLOCK / share))
    files = [File(device, weight) for weight in weights]
    run(device, [*watched, *files], 900)
    assert device.scheduler.stats.deadline_misses == 0
    assert all(player.made >= 900 / player.period - 2 for player in watched)  # type: ignore[union-attr]
    assert all(file.made > 3 for file in files)


@settings(max_examples=15, deadline=None)
@given(weights=st.lists(st.sampled_from([1.0, 2.0, 4.0]), min_size=2, max_size=4))
def test_files_share_by_weight(weights: list[float]):
    device = Device()
    files = [File(device, weight) for weight in weights]
    run(device, list(files), 800)
    whole = sum(file.made for file in files)
    for file in files:
        assert file.made == pytest.approx(whole * file.stream.weight / sum(weights), abs=2.5)


def test_a_newcomer_gets_no_more_than_its_share():
    """What it did not use before it came does not count."""
    device = Device()
    first = File(device, 1.0)
    run(device, [first], 300)
    second, before = File(device, 1.0), first.made
    run(device, [first, second], 600)
    assert first.made - before == pytest.approx(second.made, abs=2)


def test_started_block_runs_to_its_end():
    device = Device()
    first, second = device.stream(), device.stream()
    for stream in (first, second):
        device.scheduler.add(stream)
    tasks = [device.sample(first), device.sample(second)]
    for _ in range(STEPS):
        device.scheduler.step()
    assert [task.is_done for task in tasks] == [True, False]


def test_urgent_block_runs_before_a_started_one():
    device = Device()
    file, watched = device.stream(), device.stream()
    for stream in (file, watched):
        device.scheduler.add(stream)
    device.block(watched)  # measures the costs
    slow = device.sample(file)
    device.scheduler.step()
    watched.deadline = device.clock.now + BLOCK + 0.5
    urgent = device.sample(watched)
    for _ in range(STEPS):
        device.scheduler.step()
    assert urgent.is_done
    assert not slow.is_done
    watched.deadline = device.clock.now + 100
    device.sample(watched)
    for _ in range(STEPS):
        device.scheduler.step()
    assert slow.is_done


def test_single_calls_run_before_blocks_and_take_no_place():
    device = Device(Limits(1))
    stream = device.stream()
    device.scheduler.add(stream)
    stream.deadline = 1000.0
    block = device.sample(stream)
    device.scheduler.step()
    encoded = Task(single_step(lambda: "image"), FakeWork("encode", 1))
    device.scheduler.submit_single(encoded)
    assert device.scheduler.stats.running == 1
    device.scheduler.step()
    assert (encoded.future.result(), block.is_done) == ("image", False)
    for _ in range(2):  # a late block comes first, and no more than one
        stream.deadline = device.clock.now - 50
        waiting = Task(single_step(lambda: "image"), FakeWork("encode", 1))
        device.scheduler.submit_single(waiting)
        while not block.is_done:
            device.scheduler.step()
            assert not waiting.is_done
        device.scheduler.step()
        assert waiting.is_done
        block = device.sample(stream)


@pytest.mark.parametrize("kind", ["paused", "silent"])
def test_paused_or_slow_stream_costs_others_nothing(kind: str):
    times = []
    for others in (0, 3):
        device = Device()
        stream = device.stream()
        device.scheduler.add(stream)
        for _ in range(others):
            other = device.stream()
            device.scheduler.add(other)
            if kind == "paused":
                device.sample(other)
                device.scheduler.pause(other.id)
        times.append([device.block(stream) for _ in range(4)])
    assert times[0] == times[1]


def test_paused_stream_keeps_its_place_in_the_queue_and_lets_others_pass():
    device = Device(Limits(1))
    streams = [device.stream() for _ in range(4)]
    for stream in streams:
        device.scheduler.add(stream)
    first, paused, second, third = streams
    device.scheduler.pause(paused.id)
    device.scheduler.abort(first.id)
    assert list(device.scheduler.running) == [second.id]
    assert [device.scheduler.place(each.id) for each in (paused, third)] == [1, 2]
    assert device.scheduler.resume(paused.id) == 1
    device.scheduler.abort(second.id)
    assert list(device.scheduler.running) == [paused.id]
    device.scheduler.pause(third.id)
    device.scheduler.abort(paused.id)
    assert not device.scheduler.running
    assert device.scheduler.resume(third.id) == 0
    assert list(device.scheduler.running) == [third.id]


def test_sampled_block_of_a_paused_stream_is_decoded():
    device = Device()
    stream = device.stream()
    device.scheduler.add(stream)
    resting, decoded = device.sample(stream), device.decode(stream)
    device.scheduler.pause(stream.id)
    while device.scheduler.step():
        pass
    assert decoded.is_done
    assert not resting.is_done
    device.scheduler.resume(stream.id)
    while device.scheduler.step():
        pass
    assert resting.future.result() == "sampled"


def test_streams_that_do_not_fit_wait_in_order():
    device = Device(Limits(2), max_queue=2)
    streams = [device.stream() for _ in range(5)]
    assert [device.scheduler.add(each) for each in streams[:4]] == [0, 0, 1, 2]
    with pytest.raises(QueueFullError, match=r"2 streams run and at most 2 may, and 2 wait"):
        device.scheduler.add(streams[4])
    waiting = device.sample(streams[2])
    assert not device.scheduler.step()
    device.scheduler.abort(streams[0].id)
    assert [device.scheduler.place(each.id) for each in streams[2:4]] == [0, 1]
    assert device.scheduler.step()
    assert not waiting.is_done
    device.scheduler.pause(streams[1].id)  # whose place the last one takes
    assert device.scheduler.resume(streams[1].id) == 1
    stats = device.scheduler.stats
    assert (stats.waiting, stats.running, stats.swapped) == (1, 2, 0)


@pytest.mark.parametrize(
    ("demand", "message"),
    [
        (Demand(0.9), r"1 streams need 90% of the device's time, and at most 85% is given"),
        (Demand(0, 3 << 30, 2 << 30), r"1 streams need 5.00 GiB, and 4.00 GiB are there"),
    ],
)
def test_stream_that_never_fits_is_refused(demand: Demand, message: str):
    device = Device(Limits(4, 4 << 30))
    with pytest.raises(ConfigError, match=message):
        device.scheduler.add(StreamRequest(1, demand))


@given(
    demands=st.lists(
        st.tuples(st.floats(0, 0.6), st.integers(0, 60), st.integers(0, 60)), max_size=12
    )
)
def test_admitted_streams_always_fit(demands: list[tuple[float, int, int]]):
    device = Device(Limits(5, 100), max_queue=100)
    for demand in demands:
        stream = device.stream(*demand)
        try:
            device.scheduler.add(stream)
        except ConfigError:
            assert demand[1] + demand[2] > 100
        if len(device.scheduler.running) > 3:
            device.scheduler.abort(next(iter(device.scheduler.running)))
        running = [each.demand for each in device.scheduler.running.values()]
        assert len(running) <= 5
        assert sum(each.utilization for each in running) <= 0.851
        kept = sum(each.memory_bytes for each in running)
        assert kept + max((each.working_bytes for each in running), default=0) <= 100


def test_a_stream_that_is_too_large_runs_alone_where_one_always_fits():
    device = Device(Limits(4, memory_bytes=100, always_one=True))
    streams = [device.stream(0, memory) for memory in (60, 500, 30)]
    assert [device.scheduler.add(each) for each in streams] == [0, 1, 2]
    device.scheduler.pause(streams[0].id)
    assert list(device.scheduler.running) == [streams[1].id]
    assert device.scheduler.resume(streams[0].id) == 1
    device.scheduler.pause(streams[1].id)
    assert list(device.scheduler.running) == [streams[0].id, streams[2].id]


def test_calls_of_one_form_share_a_batch():
    device = Device(batch=4)
    streams = [device.stream() for _ in range(6)]
    for stream in streams:
        device.scheduler.add(stream)
    tasks = [device.sample(stream, 2, items=2) for stream in streams[:3]]
    device.scheduler.step()
    assert device.runner.batches == [4]  # two of the three: guidance needs two calls
    while device.scheduler.step():
        pass
    assert all(task.future.result() == "sampled" for task in tasks)


def test_failed_batch_is_run_apart(monkeypatch: pytest.MonkeyPatch):
    device = Device(batch=4)
    streams = [device.stream(), device.stream()]
    for stream in streams:
        device.scheduler.add(stream)
    tasks = [device.sample(stream, 1) for stream in streams]
    real = device.runner.run

    def no_room(calls):
        if len(calls) > 1 or (tasks[0].calls[0] is calls[0] and not tasks[1].is_done):
            raise MemoryError("no room")
        return real(calls)

    monkeypatch.setattr(device.runner, "run", no_room)
    device.scheduler.step()
    with pytest.raises(MemoryError, match="no room"):
        tasks[0].future.result()
    assert tasks[1].future.result() == "sampled"


def test_cancelled_block_ends_before_its_next_call():
    device = Device()
    stream = device.stream()
    device.scheduler.add(stream)
    task = device.sample(stream)
    device.scheduler.step()
    task.cancel()
    assert not device.scheduler.step()
    assert device.closed == 1
    with pytest.raises(CancelledError):
        task.future.result()


def test_memory_is_flat_over_many_joins_and_leaves():
    device = Device(Limits(3), max_queue=3)

    def join_and_leave(times: int) -> int:
        for _ in range(times):
            streams = [device.stream(0.1) for _ in range(6)]
            for stream in streams:
                device.scheduler.add(stream)
                device.sample(stream, 2)
            device.scheduler.step()
            device.scheduler.pause(streams[0].id)
            for stream in streams:
                for task in device.scheduler.abort(stream.id):
                    task.cancel()
                    task.is_cancelled()
        gc.collect()
        return sum(map(sys.getsizeof, gc.get_objects()))

    before = join_and_leave(100)
    after = join_and_leave(1700)
    assert device.closed == 6 * 1800
    assert after - before < 40_000  # one object a stream would be half a million
    stats = device.scheduler.stats
    assert (stats.waiting, stats.running, stats.swapped) == (0, 0, 0)


def test_costs_of_unmeasured_forms_follow_their_size():
    costs = Costs()
    assert costs.seconds(("sample", (1, 2), 1)) == 0
    costs.measured(("sample", (1, 2), 1), 3.0)
    assert costs.seconds(("sample", (1, 4), 2)) == 12
    for size in range(1, 3 * MOST_FORMS):
        costs.measured(("sample", (size,), 1), 1.0)
    assert len(costs._seconds) == MOST_FORMS


def test_batches_grow_while_that_gains_five_percent():
    def best(times: dict[int, float]) -> int:
        return smallest_good(times, times.__getitem__)

    assert best({1: 1.0, 2: 0.97, 4: 0.5}) == 1
    assert best({1: 1.0, 2: 0.6, 4: 0.5, 8: 0.49}) == 4
    assert best({1: 1.0, 2: math.inf}) == 1
    assert best({}) == 1
