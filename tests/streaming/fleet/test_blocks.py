"""Blocks of a fleet without Ray: any replica makes the bits of a plain session."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sana_stream import Engine
from sana_stream.engine.block import Block
from sana_stream.engine.scheduling import SchedulerOutput
from sana_stream.errors import ConfigError, HealthError, StoreError
from sana_stream.streaming.fleet.calls import FleetCounters, ReplicaLate, ReplicaLost, RetryingCalls
from sana_stream.streaming.fleet.homes import HomeTable
from sana_stream.streaming.fleet.order import StreamOrder
from sana_stream.streaming.fleet.order_json import order_from_json, order_to_json
from sana_stream.streaming.fleet.replica import StreamBlocks
from sana_stream.streaming.fleet.replica_metrics import ReplicaMetrics
from sana_stream.streaming.fleet.session import RemoteSession
from sana_stream.streaming.fleet.store import StreamStore

pytest.importorskip("obstore", reason="obstore is not installed: pip install 'sana-stream[fleet]'")
STREAM = "stream-0000"


@pytest.fixture
def engine(tiny_engine: Engine) -> Engine:
    return tiny_engine


@pytest.fixture(autouse=True)
def replicas(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[StreamBlocks]]:
    """All replicas of a test, which end with it."""
    made: list[StreamBlocks] = []
    begin = StreamBlocks.__init__

    def recorded(self: StreamBlocks, *args: Any, **named: Any) -> None:
        begin(self, *args, **named)
        made.append(self)

    monkeypatch.setattr(StreamBlocks, "__init__", recorded)
    yield made
    for each in made:
        each.close()


class Fleet:
    """Two replicas in this process, and the transport of their gateway."""

    def __init__(self, engine: Engine, store: StreamStore, every: int = 2) -> None:
        self.due: list[float] = []
        self.engine, self.store, self.every = engine, store, every
        self.homes = HomeTable()
        self.replicas: dict[str, StreamBlocks] = {}
        self.fail: Callable[[int], Exception | None] = lambda call: None
        self.counters = FleetCounters()
        self.count = 0
        for name in ("a", "b"):
            self.start(name)

    def start(self, name: str) -> None:
        self.replicas[name] = StreamBlocks(self.engine, self.store, name, self.every, cached=2)
        self.homes.update(self.replicas)

    def call(self, method: str, stream: str, arguments: tuple[Any, ...], limit: float) -> Any:
        home = self.homes.choose(stream)
        assert home is not None
        self.count += 1
        self.due += arguments[2:] if method == "block" else ()
        if (error := self.fail(self.count)) is not None:
            raise error
        return getattr(self.replicas[home], method)(stream, *arguments)

    def session(self, order: StreamOrder, stop: Event | None = None) -> RemoteSession:
        calls = RetryingCalls(self, self.homes, self.counters, 5.0, stop or Event())
        return RemoteSession(calls, self.store, STREAM, order, self.engine.preset.fps)


def order_of(engine: Engine, guidance: float = 1.0, memory: str = "window=1") -> StreamOrder:
    plain = engine.session("a red boat", guidance=guidance, memory=memory, seed=3)
    settings = plain.snapshot().settings
    return StreamOrder(settings, "a red boat", "", engine.vae.config.temporal_factor)


def plain_of(engine: Engine, order: StreamOrder) -> Any:
    return engine.session(order.prompt, negative_prompt="", settings=order.settings)


def direct(session: Any, index: int) -> None:
    """What a client does to a stream, before some of its blocks."""
    if index == 2:
        session.switch("the night falls")
    if index == 4:
        session.reseed(9)
        session.switch("a blue train", "fox")
    if index == 5:
        session.cut(np.full((40, 60, 3), 90, np.uint8))


def digest(block: Block) -> str:
    facts = f"{block.index} {block.start} {block.prompt}".encode()
    return hashlib.sha256(facts + block.frames.tobytes()).hexdigest()


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_blocks_equal_a_plain_session_whichever_replica_is_lost(
    engine: Engine, guidance: float
) -> None:
    store = StreamStore("memory://")
    fleet = Fleet(engine, store)
    order = order_of(engine, guidance)
    plain, remote = plain_of(engine, order), fleet.session(order)
    for index in range(8):
        direct(plain, index)
        direct(remote, index)
        if index in (3, 6):  # the replica of the stream is gone, another one has its name
            home = fleet.homes.home(STREAM)
            assert home is not None
            fleet.start(home)
        if index == 5:
            fleet.fail = lambda call, at=fleet.count + 1: ReplicaLost("x") if call == at else None
        assert digest(next(remote)) == digest(next(plain))
        assert remote.next_start == plain.next_start
        assert remote.last_frames == plain.last_frames
    assert fleet.counters.retries["lost"] == 1
    assert fleet.counters.remade > 0
    for replica in fleet.replicas.values():
        replica.snapshots.wait(STREAM)
    kept = [name for name in store.names(STREAM) if name.endswith(".ckpt")]
    assert [name[:8] for name in kept] == ["00000006", "00000008"]  # the last two


def test_a_gateway_continues_from_the_store(engine: Engine) -> None:
    store = StreamStore("memory://")
    order = order_of(engine)
    plain, remote = plain_of(engine, order), Fleet(engine, store).session(order)
    for index in range(5):
        direct(plain, index)
        direct(remote, index)
        assert digest(next(plain)) == digest(next(remote))
    stored = order_from_json(store.get(f"{STREAM}/order.json") or b"", "order")
    assert stored.position.block == 4  # the block on its way may not be delivered
    again = Fleet(engine, store).session(stored)
    assert again.next_index == 4
    assert [each.block for each in again.order.changes] == [2, 4]
    again_frames = next(again).frames
    assert np.array_equal(again_frames, remote.last.frames)  # type: ignore[union-attr]


def test_a_rewound_stream_equals_a_plain_one(engine: Engine) -> None:
    fleet = Fleet(engine, StreamStore("memory://"))
    order = order_of(engine)
    plain, remote = plain_of(engine, order), fleet.session(order)
    for session in (plain, remote):
        session.keep_history(100)
    for index in range(7):
        for session in (plain, remote):
            if index == 6:
                session.rewind(20 / engine.preset.fps)
                session.reseed(5)
            session.switch("a fox" if index > 3 else "a red boat")
        assert remote.next_index == plain.next_index
        assert digest(next(remote)) == digest(next(plain))
    short = fleet.session(order_of(engine))
    for _ in range(4):
        next(short)
    short.keep_history(0.1)
    with pytest.raises(ConfigError, match="cannot rewind"):
        short.rewind(2)


def test_a_late_replica_is_avoided_and_a_stopped_stream_ends(engine: Engine) -> None:
    fleet = Fleet(engine, StreamStore("memory://"))
    remote = fleet.session(order_of(engine))
    first = next(remote)
    before = fleet.homes.home(STREAM)
    fleet.fail = lambda call: ReplicaLate("1") if call == 2 else None
    second = next(remote)
    assert fleet.homes.home(STREAM) != before
    plain = plain_of(engine, order_of(engine))
    assert [digest(first), digest(second)] == [digest(next(plain)), digest(next(plain))]
    stop = Event()
    stop.set()
    fleet.fail = lambda call: ReplicaLost("all")
    with pytest.raises(HealthError, match="stopped while no replica answered"):
        next(fleet.session(order_of(engine), stop))


def test_a_repeated_call_returns_the_last_block(engine: Engine) -> None:
    blocks = StreamBlocks(engine, StreamStore("memory://"), every=100)
    order = order_of(engine)
    made = blocks.block(STREAM, 0, order)
    again = blocks.block(STREAM, 0, order)
    assert (made.made, again.made) == (1, 0)
    assert np.array_equal(made.frames, again.frames)
    other = blocks.block(STREAM, 1, order)
    back = blocks.block(STREAM, 0, order)  # earlier than the session: from the beginning
    assert np.array_equal(back.frames, made.frames)
    assert not np.array_equal(other.frames[: len(back.frames)], back.frames[: len(other.frames)])


def test_a_stream_ends_without_an_error_where_its_store_is_gone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    remote = Fleet(engine, StreamStore("memory://")).session(order_of(engine))
    next(remote)

    def unreachable(store: StreamStore, name: str, data: bytes) -> None:
        raise StoreError("s3://films: cannot be reached")

    monkeypatch.setattr(StreamStore, "put", unreachable)
    remote.close(keep=True)
    assert "its position is not stored (s3://films: cannot be reached)" in caplog.text


def test_deadlines_reach_the_replica_as_the_time_that_is_left(engine: Engine) -> None:
    """Clocks of machines differ; a repeated call has less time left, none has more than 2.5 s."""
    fleet = Fleet(engine, StreamStore("memory://"))
    remote = fleet.session(order_of(engine))
    next(remote)
    remote.set_deadline(time.monotonic() + 1)
    fleet.fail = lambda call: ReplicaLost("x") if call == 2 else None
    next(remote)
    remote.set_deadline(time.monotonic() + 50)
    next(remote)
    first, second, third, last = fleet.due
    assert (first, last) == (2.5, 2.5)  # half the limit
    assert third < second <= 1


def test_the_stream_that_runs_out_of_video_first_comes_first(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks, order = StreamBlocks(engine, StreamStore("memory://")), order_of(engine)
    shared = blocks._device.shared
    assert shared is not None
    scheduler, ran, go = shared._scheduler, list[int](), threading.Event()
    for name in ("early", "late"):
        blocks.block(name, 0, order)
    plain = plain_of(engine, order)
    next(plain)

    def recorded(output: SchedulerOutput, execute: Any = scheduler.execute) -> float:
        ran.extend(stream.id for stream in output.streams)
        return execute(output)

    with ThreadPoolExecutor(3) as threads:
        held = threads.submit(engine.lane.run, "hold", 1, lambda: go.wait(20))
        asked = []
        for number, (name, due) in enumerate((("early", 90.0), ("late", 5.0)), 1):
            asked.append(threads.submit(blocks.block, name, 1, order, due))
            while sum(len(stream.tasks) for stream in scheduler.running.values()) < number:
                assert not held.done()
        monkeypatch.setattr(scheduler, "execute", recorded)
        go.set()
        frames = next(plain).frames
        assert all(np.array_equal(reply.result().frames, frames) for reply in asked)
    assert ran[0] == 1  # the second one that came
    assert set(ran) == {0, 1}


class Counted:
    """A counter or histogram as Ray has them: it refuses to count 0."""

    def __init__(self, *_: object) -> None:
        self.values: list[float] = []

    def inc(self, value: float = 1.0) -> None:
        assert value > 0
        self.values.append(value)

    observe = inc


def test_a_repeated_call_can_be_counted(engine: Engine) -> None:
    blocks, order = StreamBlocks(engine, StreamStore("memory://"), every=1), order_of(engine)
    metrics = ReplicaMetrics(SimpleNamespace(Counter=Counted, Histogram=Counted))
    blocks.snapshots.on_written = metrics.on_snapshot
    for number in (0, 0, 1, 1):
        metrics.on_reply(blocks.block(STREAM, number, order))
        blocks.snapshots.wait(STREAM)
    assert metrics._made.values == [1, 1]
    assert metrics._loads.values == [1]
    assert len(metrics._store.values) == 2


def test_the_least_recently_used_stream_is_dropped(engine: Engine) -> None:
    blocks = StreamBlocks(engine, StreamStore("memory://"), cached=2)
    order = order_of(engine)
    for name in ("x", "y", "x", "z"):
        blocks.block(name, 0, order)
    assert blocks.streams == ("x", "z")
    assert blocks._device.shared is not None
    assert blocks._device.shared.stats().swapped == 2  # they want nothing between two calls
    assert blocks.block("y", 1, order).loaded == 0


def test_a_lost_store_does_not_stop_the_blocks(engine: Engine) -> None:
    class Broken(StreamStore):
        def put(self, name: str, data: bytes) -> None:
            raise StoreError("gone")

    blocks = StreamBlocks(engine, Broken("memory://"), every=1)
    order = order_of(engine)
    blocks.block(STREAM, 0, order)
    blocks.snapshots.wait(STREAM)
    assert any("gone" in note for note in blocks.block(STREAM, 1, order).notes)


def test_a_drained_replica_stores_its_streams(engine: Engine) -> None:
    store = StreamStore("memory://")
    fleet = Fleet(engine, store, every=100)
    order = order_of(engine)
    plain, remote = plain_of(engine, order), fleet.session(order)
    blocks = [next(remote) for _ in range(3)]
    home = fleet.homes.home(STREAM)
    assert home is not None
    assert fleet.replicas[home].save_all() == 1
    assert fleet.homes.drain(home)
    blocks.append(next(remote))
    assert fleet.homes.home(STREAM) != home
    assert fleet.counters.remade == 0
    assert [digest(block) for block in blocks] == [digest(next(plain)) for _ in range(4)]


def test_a_moment_is_saved_as_a_checkpoint(engine: Engine, tmp_path: Path) -> None:
    fleet = Fleet(engine, StreamStore("memory://"))
    order = order_of(engine)
    plain, remote = plain_of(engine, order), fleet.session(order)
    for session in (plain, remote):
        next(session)
        next(session)
        session.switch("a blue train")
    remote.save(tmp_path / "moment.ckpt", {"run": {}})
    resumed = engine.resume(tmp_path / "moment.ckpt")
    assert digest(next(resumed)) == digest(next(plain))


def test_orders_survive_json_and_damage_is_named(engine: Engine) -> None:
    remote = Fleet(engine, StreamStore("memory://")).session(order_of(engine, 3.0))
    for index in range(6):
        direct(remote, index)
        next(remote)
    assert order_from_json(order_to_json(remote.order), "x") == remote.order
    for damaged in (
        b"",
        b"[]",
        b"{",
        order_to_json(remote.order).replace(b'"seed": 9', b'"seed": -9'),
    ):
        with pytest.raises(StoreError, match=r"s3://b/order\.json cannot be read"):
            order_from_json(damaged, "s3://b/order.json")
