"""Streams together equal streams apart, bit for bit; a shared engine ends what it began."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sana_stream.engine.block import Block
from sana_stream.engine.engine import Engine
from sana_stream.engine.sampling.model_runner import ModelRunner
from sana_stream.engine.scheduling import SharedEngine
from sana_stream.engine.scheduling.swap import Swap, memory_of
from sana_stream.engine.scheduling.text_cache import TextCache
from sana_stream.engine.session.executor import DirectExecutor
from sana_stream.engine.session.lookahead import generate_ahead
from sana_stream.engine.session.session import Session
from sana_stream.errors import ConfigError, QueueFullError
from sana_stream.models import transformer_block

PROMPTS = ["a red boat", "night falls over the blue sea", "the sun rises over the hill, a fox runs"]
IMAGE = np.full((32, 48, 3), 90, np.uint8)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def engine(request: pytest.FixtureRequest, tiny_folder: Path) -> Engine:
    return Engine.load(tiny_folder, device="cpu", dtype=request.param)


class Capture(DirectExecutor):
    """Hands out a block's generator in place of sampling it."""

    def sample(self, steps: Any, check: Callable[[], None], work: object) -> Any:
        return steps


streams = st.fixed_dictionaries(
    {
        "prompt": st.sampled_from(PROMPTS),
        "seed": st.integers(0, 3),
        "memory": st.sampled_from(["cumulative", "window=1", "window=2,sink=1", "decay=0.5"]),
        "guidance": st.sampled_from([1.0, 2.5]),
        "solver": st.sampled_from(["renoise", "euler", "dpm++", "unipc"]),
        "steps": st.integers(1, 3),
        "image": st.sampled_from([None, None, IMAGE]),
    }
)


class Player:
    """A stream of two blocks that joins late, may switch its prompt, and may leave early."""

    def __init__(self, engine: Engine, plan: dict[str, Any], join: int, leave: int | None) -> None:
        self.session = engine.session(**plan, negative_prompt="night")
        self.join, self.leave = join, leave
        self.latents: list[torch.Tensor] = []
        self.steps: Any = None
        self.calls: Any = None

    def before_block(self) -> None:
        if self.session.next_index == 1:
            self.session.switch(PROMPTS[self.join % len(PROMPTS)])

    def begin(self) -> None:
        self.before_block()
        self.steps = self.session.sample(self.session.snapshot())
        self.calls = next(self.steps)

    def send(self, results: list[Any]) -> None:
        try:
            self.calls = self.steps.send(results)
        except StopIteration as end:
            block, after = self.session.decode(end.value, self.session.snapshot())
            self.session.advance_to(after)
            self.latents.append(block.latents)
            self.calls = None

    def alone(self) -> list[torch.Tensor]:
        made = []
        for _ in range(2):
            self.before_block()
            made.append(next(self.session).latents)
        return made


def together(players: list[Player], runner: ModelRunner) -> None:
    """Run the streams' calls in common batches until every stream has ended."""
    for player in players:
        player.session.run_on(Capture(runner._model))
    for tick in itertools.count():
        live = [p for p in players if tick >= p.join and len(p.latents) < 2]
        live = [p for p in live if p.leave is None or tick < p.join + p.leave]
        if not live and tick > 9:
            return
        for player in live:
            if player.calls is None:
                player.begin()
        with torch.no_grad():
            results = runner.run([call for player in live for call in player.calls])
            for player in live:
                count = len(player.calls)
                own, results = results[:count], results[count:]
                player.send(own)


@settings(max_examples=4, deadline=None)
@given(
    plans=st.lists(
        st.tuples(streams, st.integers(0, 4), st.sampled_from([None, None, 3])),
        min_size=2,
        max_size=4,
    ),
    size=st.sampled_from([2, 3, 8]),
)
def test_streams_together_equal_streams_apart(engine: Engine, plans: list[Any], size: int):
    players = [Player(engine, *plan) for plan in plans]
    together(players, ModelRunner(engine, size))
    for player, plan in zip(players, plans, strict=True):
        expected = Player(engine, *plan).alone()[: len(player.latents)]
        assert player.leave is not None or len(player.latents) == 2
        assert all(torch.equal(*pair) for pair in zip(player.latents, expected, strict=True))


def test_equality_needs_each_item_normalised_as_alone(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """The comparison above notices the rounding of another layer norm."""
    engine = Engine.load(tiny_folder, device="cpu", dtype="bfloat16")
    plans = [{"prompt": prompt, "steps": 2} for prompt in PROMPTS]
    expected = [Player(engine, plan, 0, None).alone() for plan in plans]
    real = transformer_block.modulate

    def fused_again(x, shift, scale, eps):
        if x.shape[0] == 1:
            return real(x, shift, scale, eps)
        normal = torch.nn.functional.layer_norm(x, x.shape[-1:], eps=eps)
        return (normal * (1 + scale) + shift).to(x.dtype)

    for change in (False, True):
        if change:
            monkeypatch.setattr(transformer_block, "modulate", fused_again)
        players = [Player(engine, plan, 0, None) for plan in plans]
        together(players, ModelRunner(engine, 8))
        pairs = zip([p.latents for p in players], expected, strict=True)
        same = all(torch.equal(*pair) for each in pairs for pair in zip(*each, strict=True))
        assert same is not change


def same(blocks: list[Block], others: list[Block]) -> bool:
    return len(blocks) == len(others) and all(
        torch.equal(a.latents, b.latents) and (a.frames == b.frames).all()
        for a, b in zip(blocks, others, strict=True)
    )


@pytest.mark.parametrize("size", [1, 4, None])
def test_attached_sessions_equal_sessions_alone(tiny_engine: Engine, size: int | None):
    """Each stream on its own thread; blocks arrive as of sessions alone, frames included."""
    plans: list[dict[str, Any]] = [
        {"prompt": PROMPTS[0], "memory": "window=2,sink=1"},
        {"prompt": PROMPTS[1], "guidance": 2.0, "image": IMAGE},
        {"prompt": PROMPTS[2], "solver": "euler", "steps": 2},
    ]
    with SharedEngine(tiny_engine, max_batch_size=size) as shared:

        def run(plan: dict[str, Any]) -> list[Block]:
            session = shared.attach(tiny_engine.session(**plan), fps=8, paced="image" in plan)
            session.set_deadline(time.monotonic() + 5)
            with closing(generate_ahead(session)) as blocks:
                made = list(itertools.islice(blocks, 2))
            shared.detach(session)
            return [*made, next(session)]

        with ThreadPoolExecutor(3) as threads:
            made = list(threads.map(run, plans))
        stats = shared.stats()
    for plan, blocks in zip(plans, made, strict=True):
        session = tiny_engine.session(**plan)
        assert same(blocks, [next(session) for _ in range(3)])
    assert (stats.running, stats.deadline_misses, stats.batch_size >= 1) == (0, 0, True)
    assert not [t for t in threading.enumerate() if t.name == "sana-stream-networks"]


class Exclusive:
    """Networks whose calls take a while and must never be made by two threads at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
        self._busy = threading.Lock()
        self.made = Counter[str]()
        calls = {
            "transformer_calls": ("denoise", "commit", "prepare_text"),
            "decoder_calls": ("decode",),
            "vae": ("encode",),
        }
        for owner, names in calls.items():
            for name in names:
                network = getattr(engine, owner)
                monkeypatch.setattr(network, name, self._guarded(name, getattr(network, name)))

    def _guarded(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any) -> Any:
            assert self._busy.acquire(blocking=False), f"{name} during another call"
            try:
                time.sleep(0.001)
                self.made[name] += 1
                return call(*args)
            finally:
                self._busy.release()

        return guarded


def test_calls_of_streams_never_overlap(tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch):
    """Those of blocks, and those that encode images, clips and prompts."""
    clip = np.stack([IMAGE] * 9)
    beginnings: list[dict[str, Any]] = [{"image": IMAGE}, {"video": clip}, {}]
    exclusive = Exclusive(monkeypatch, tiny_engine)
    with SharedEngine(tiny_engine) as shared:

        def run(beginning: dict[str, Any]) -> Block:
            session = shared.attach(tiny_engine.session("a red boat", **beginning))
            for number in range(3):
                session.switch(PROMPTS[number])
                next(session)
            session.cut(IMAGE)
            return next(session)

        with ThreadPoolExecutor(3) as threads:
            made = list(threads.map(run, beginnings))
        assert shared.stats().running == 3
    assert exclusive.made["encode"] >= 5
    assert exclusive.made["prepare_text"] >= 10
    for beginning, block in zip(beginnings, made, strict=True):
        alone = tiny_engine.session("a red boat", **beginning)
        for number in range(3):
            alone.switch(PROMPTS[number])
            next(alone)
        alone.cut(IMAGE)
        assert same([next(alone)], [block])


def test_more_streams_than_fit_wait_or_are_refused(tiny_engine: Engine):
    with SharedEngine(tiny_engine, max_streams=1, max_queue=1) as shared:
        first, second, third = (tiny_engine.session("a red boat") for _ in range(3))
        shared.attach(first)
        admission = shared.admit(second.snapshot().settings, 8, paced=True)
        assert not admission.fits
        assert admission.possible
        shared.attach(second)
        assert (first.place, second.place) == (0, 1)
        with pytest.raises(QueueFullError, match="1 streams run and at most 1 may, and 1 wait"):
            shared.attach(third)
        with pytest.raises(ConfigError, match=r"needs? .*% of the device's time"):
            shared.attach(third, fps=1e9, paced=True)
        with pytest.raises(ConfigError, match="attached already"):
            shared.attach(first)
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(next, second)
            assert next(first).index == 0
            assert not waiting.done()
            shared.detach(first)
            assert waiting.result(20).index == 0


@pytest.mark.parametrize("way", ["detach", "interrupt", "pause"])
def test_cancelled_stream_ends_within_a_call(tiny_engine: Engine, way: str):
    """Its noise is not drawn for a further step, and the session continues alone."""
    drawn, go = [], threading.Event()

    def noise(block: int, step: int, shape: tuple[int, ...]) -> torch.Tensor:
        drawn.append(step)
        if step == 1:
            go.set()
            time.sleep(0.1)
        return torch.zeros(shape)

    with SharedEngine(tiny_engine) as shared, ThreadPoolExecutor(1) as threads, ExitStack() as rest:
        session = shared.attach(tiny_engine.session("a red boat", noise=noise))
        block = threads.submit(next, session)
        assert go.wait(20)
        if way == "pause":
            rest.enter_context(session.idle())
            time.sleep(0.15)
            assert not block.done()
            assert drawn == [0, 1]
            assert next(shared.attach(tiny_engine.session("night falls"))).index == 0
        if way == "detach":
            shared.detach(session)
        else:
            session.interrupt()
        with pytest.raises(CancelledError):
            block.result(20)
        assert drawn == [0, 1]
        shared.detach(session)
        assert next(session).index == 0


def test_slow_taker_of_parts_holds_up_nobody(tiny_engine: Engine):
    taken, go = threading.Event(), threading.Event()

    def take(part: object) -> None:
        taken.set()
        assert go.wait(20)

    with SharedEngine(tiny_engine) as shared, ThreadPoolExecutor(1) as threads:
        slow = shared.attach(tiny_engine.session("a red boat"))
        slow.deliver_parts(take)
        block = threads.submit(next, slow)
        assert taken.wait(20)
        assert next(shared.attach(tiny_engine.session("night falls"))).index == 0
        go.set()
        assert same([block.result(20)], [next(tiny_engine.session("a red boat"))])


def test_unusable_numbers_and_sessions_are_refused(tiny_engine: Engine, engine: Engine):
    numbers: tuple[dict[str, Any], ...]
    numbers = ({"max_streams": 0}, {"max_queue": -1}, {"max_batch_size": 0})
    for wrong in numbers:
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            SharedEngine(tiny_engine, **wrong)
    with pytest.raises(ConfigError, match="not entered"):
        SharedEngine(tiny_engine).attach(tiny_engine.session("a red boat"))
    with SharedEngine(tiny_engine) as shared, pytest.raises(ConfigError, match="another engine"):
        shared.attach(engine.session("a red boat"))


def test_embeddings_are_kept_within_their_limit():
    asked = []

    def embed(prompt: str, negative: bool) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append((prompt, negative))
        return torch.zeros(1, 10), torch.zeros(1, 10)

    cache = TextCache(embed, 200)
    for prompt in ("a", "b", "a", "c", "a", "b"):
        cache(prompt, False)
    cache("b", True)
    assert asked == [("a", False), ("b", False), ("c", False), ("b", False), ("b", True)]
    assert cache.nbytes <= 200


@pytest.mark.parametrize("held", [False, True])
def test_swapped_stream_goes_on_bit_for_bit(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch, held: bool
):
    """The tensors that a stream holds are moved, its decoder's cache first."""
    if held:  # by the session, as too large for snapshots
        monkeypatch.setattr("sana_stream.engine.snapshot.snapshot.CACHE_LIMIT", 0)
    session: Session = tiny_engine.session("a red boat", memory="window=2,sink=1")
    expected = tiny_engine.session("a red boat", memory="window=2,sink=1")
    for each in (session, expected):
        next(each)
    snapshot, moved = session.snapshot(), []
    assert (snapshot.cache is None, bool(session.held_tensors)) == (held, held)

    def to_host(tensor: torch.Tensor) -> torch.Tensor:
        moved.append(tensor)
        return tensor.double()

    swap = Swap(torch.device("cpu"), to_host, lambda tensor: tensor.float())
    memory = memory_of(snapshot, session.held_tensors)
    assert swap.make_room(1, [(1, memory)]) > 0
    assert len(moved) == 1
    assert moved[0].shape == memory.cache[0].shape
    swap.make_room(sum(tensor.nbytes for tensor in memory.cache), [(1, memory)])
    swap.make_room(1 << 40, [(1, memory)])
    assert snapshot.recent_latents[-1].dtype == torch.float64
    assert swap.make_room(1 << 40, [(1, memory)]) == 0
    swap.back(1)
    assert swap.bytes_away(1) == 0
    assert same([next(session)], [next(expected)])
