"""Overlapped streams equal sequential ones, whatever is done between two blocks."""

from __future__ import annotations

import itertools
import threading
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sana_stream.engine.engine import Engine
from sana_stream.engine.session.block_generator import LatentBlock
from sana_stream.engine.session.lookahead import generate_ahead
from sana_stream.engine.snapshot.snapshot import Snapshot

from .test_session import same, take

PROMPTS = ["a red boat", "night falls", "the sun rises over the sea"]


def test_blocks_are_those_of_the_session(tiny_engine: Engine):
    expected = take(tiny_engine.session("a red boat", memory="window=2,sink=1"), 4)
    session = tiny_engine.session("a red boat", memory="window=2,sink=1")
    with closing(generate_ahead(session)) as blocks:
        assert same(list(itertools.islice(blocks, 4)), expected)


@settings(max_examples=8, deadline=None)
@given(actions=st.lists(st.sampled_from([None, 0, 1, 2, "back"]), min_size=3, max_size=5))
def test_switches_and_rewinds_in_between_equal_the_sequential_stream(
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


def test_planned_switches_fall_where_a_switch_by_hand_would(tiny_engine: Engine):
    plan = {9: PROMPTS[1], 25: PROMPTS[2]}
    by_hand = tiny_engine.session(PROMPTS[0])
    expected = []
    for _ in range(4):
        by_hand.switch(plan.get(by_hand.next_start, by_hand.prompt))
        expected.append(next(by_hand))
    with closing(generate_ahead(tiny_engine.session(PROMPTS[0]), plan.get)) as blocks:
        assert same(list(itertools.islice(blocks, 4)), expected)


@pytest.mark.parametrize(("end", "drafts"), [(1, 1), (9, 1), (10, 2), (17, 2), (18, 3)])
def test_no_block_behind_the_end_is_drafted(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch, end: int, drafts: int
):
    expected = take(tiny_engine.session("a red boat"), drafts)
    session, drafted = tiny_engine.session("a red boat"), []
    draft = session.sample
    monkeypatch.setattr(session, "sample", lambda head: drafted.append(head) or draft(head))
    assert same(list(generate_ahead(session, end=end)), expected)
    assert len(drafted) == drafts
    assert same([next(session)], take(tiny_engine.session("a red boat"), drafts + 1)[-1:])


def test_an_abandoned_stream_leaves_no_thread(tiny_engine: Engine):
    before = set(threading.enumerate())  # of which other tests' threads may end meanwhile
    blocks = generate_ahead(tiny_engine.session("a red boat"))
    next(blocks)
    blocks.close()  # type: ignore[attr-defined]
    assert set(threading.enumerate()) <= before


def test_an_error_while_decoding_reaches_the_reader(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
):
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


def test_an_error_while_drafting_ahead_costs_no_finished_block(
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
