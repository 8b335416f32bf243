"""Overlapped streams equal sequential ones, with any actions between two blocks."""

from __future__ import annotations

import itertools
import threading
from contextlib import closing

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sana_stream.engine.engine import Engine
from sana_stream.engine.noise import counter_noise
from sana_stream.engine.session.block_generator import LatentBlock
from sana_stream.engine.session.lookahead import generate_ahead
from sana_stream.engine.snapshot.snapshot import Snapshot

from .test_session import same, take

PROMPTS = ["a red boat", "night falls", "the sun rises over the sea"]


def test_overlapped_blocks_equal_the_session(tiny_engine: Engine):
    expected = take(tiny_engine.session("a red boat", memory="window=2,sink=1"), 4)
    session = tiny_engine.session("a red boat", memory="window=2,sink=1")
    with closing(generate_ahead(session)) as blocks:
        assert same(list(itertools.islice(blocks, 4)), expected)


@settings(max_examples=5, deadline=None)
@given(actions=st.lists(st.sampled_from([None, 0, 1, 2, "back"]), min_size=3, max_size=5))
def test_switches_and_rewinds_equal_the_sequential_stream(
    tiny_engine: Engine, actions: list[int | str | None]
):
    runs = []
    for overlap in (False, True):
        session = tiny_engine.session(PROMPTS[0])
        blocks = generate_ahead(session) if overlap else iter(session)
        before, taken = session.snapshot(), []
        for action in actions:
            if isinstance(action, int):
                session.switch(PROMPTS[action])
            elif action == "back":
                session.advance_to(before)
            before = session.snapshot()
            taken.append(next(blocks))
        runs.append(taken)
        if overlap:
            blocks.close()  # type: ignore[union-attr]
    assert same(*runs)
    assert [b.prompt for b in runs[0]] == [b.prompt for b in runs[1]]


def test_planned_switches_equal_manual_ones(tiny_engine: Engine):
    plan = {9: PROMPTS[1], 25: PROMPTS[2]}
    by_hand = tiny_engine.session(PROMPTS[0])
    expected = []
    for _ in range(4):
        by_hand.switch(plan.get(by_hand.next_start, by_hand.prompt))
        expected.append(next(by_hand))
    with closing(generate_ahead(tiny_engine.session(PROMPTS[0]), plan.get)) as blocks:
        assert same(list(itertools.islice(blocks, 4)), expected)


@pytest.mark.parametrize(("end", "drafts"), [(1, 1), (9, 1), (10, 2), (17, 2), (18, 3)])
def test_no_block_after_the_end_is_sampled(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch, end: int, drafts: int
):
    expected = take(tiny_engine.session("a red boat"), drafts)
    session, drafted = tiny_engine.session("a red boat"), []
    draft = session.sample
    monkeypatch.setattr(session, "sample", lambda head: drafted.append(head) or draft(head))
    assert same(list(generate_ahead(session, end=end)), expected)
    assert len(drafted) == drafts
    assert same([next(session)], take(tiny_engine.session("a red boat"), drafts + 1)[-1:])


def test_closed_stream_leaves_no_thread(tiny_engine: Engine):
    before = set(threading.enumerate())  # of which other tests' threads may end meanwhile
    blocks = generate_ahead(tiny_engine.session("a red boat"))
    next(blocks)
    blocks.close()  # type: ignore[attr-defined]
    assert set(threading.enumerate()) <= before


def test_decoding_error_reaches_the_reader(tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch):
    session = tiny_engine.session("a red boat")
    with closing(generate_ahead(session)) as blocks:
        next(blocks)
        reached = session.snapshot()

        def fail(*_: object) -> None:
            raise MemoryError("no room for pictures")

        monkeypatch.setattr(session, "decode", fail)
        with pytest.raises(MemoryError, match="no room"):
            next(blocks)
        assert session.snapshot() is reached


def test_error_in_sampling_ahead_loses_no_finished_block(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    expected = take(tiny_engine.session("a red boat"), 2)
    session = tiny_engine.session("a red boat")
    draft = session.sample

    def fail_at_two(head: Snapshot) -> LatentBlock:
        if head.next_index == 2:
            raise MemoryError("no room for latents")
        return draft(head)

    monkeypatch.setattr(session, "sample", fail_at_two)
    with closing(generate_ahead(session)) as blocks:
        assert same(list(itertools.islice(blocks, 2)), expected)
        with pytest.raises(MemoryError, match="no room"):
            next(blocks)


def test_block_is_yielded_before_the_next_one_is_sampled(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    """Sampling of block n + 1 cannot end before block n was yielded."""
    expected = take(tiny_engine.session("a red boat"), 3)
    session = tiny_engine.session("a red boat")
    draft, yielded = session.sample, [threading.Event() for _ in range(4)]

    def sample_after_yield(head: Snapshot) -> LatentBlock:
        drafted = draft(head)
        if head.next_index:
            assert yielded[head.next_index - 1].wait(20), "the block before is held back"
        return drafted

    monkeypatch.setattr(session, "sample", sample_after_yield)
    taken = []
    with closing(generate_ahead(session)) as blocks:
        for block in itertools.islice(blocks, 3):
            taken.append(block)
            yielded[block.index].set()
        yielded[3].set()
    assert same(taken, expected)


def test_decoding_overlaps_sampling(tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch):
    """Decoding of block n waits here until sampling of block n + 1 has begun."""
    session = tiny_engine.session("a red boat")
    draft, decode = session.sample, session.decode
    begun = [threading.Event() for _ in range(4)]

    def sample(head: Snapshot) -> LatentBlock:
        begun[head.next_index].set()
        return draft(head)

    def decode_late(latent_block: LatentBlock, before: Snapshot):
        assert begun[latent_block.span.index + 1].wait(20), "the stages do not overlap"
        return decode(latent_block, before)

    monkeypatch.setattr(session, "sample", sample)
    monkeypatch.setattr(session, "decode", decode_late)
    with closing(generate_ahead(session)) as blocks:
        assert [block.index for block in itertools.islice(blocks, 3)] == [0, 1, 2]


def test_closed_stream_ends_sampling_before_its_next_network_call(tiny_engine: Engine):
    sound, calls, close = counter_noise(0), [], threading.Event()

    def noise(index: int, step: int, shape: tuple[int, ...]) -> torch.Tensor:
        if index == 1:
            calls.append(step)
            assert close.wait(20)
        return sound(index, step, shape)

    session = tiny_engine.session("a red boat", noise=noise)
    interrupt = session.interrupt

    def interrupt_and_continue() -> None:
        interrupt()
        close.set()

    session.interrupt = interrupt_and_continue  # type: ignore[method-assign]
    blocks = generate_ahead(session)
    next(blocks)
    blocks.close()
    assert calls == [0]
    assert next(session).index == 1


def test_session_may_be_advanced_while_the_next_block_is_sampled(tiny_engine: Engine):
    """The two samplings run one after the other; the stream continues from where it then is."""
    expected = take(tiny_engine.session("a red boat"), 4)
    session = tiny_engine.session("a red boat")
    taken = []
    with closing(generate_ahead(session)) as blocks:
        taken.append(next(blocks))
        taken.append(next(session))
        taken += itertools.islice(blocks, 2)
    assert same(taken, expected)
