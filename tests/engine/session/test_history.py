"""Rewinding: any actions on a stream equal the straight run with the same choices."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sana_stream.engine.block import Block
from sana_stream.engine.engine import Engine
from sana_stream.engine.session.history import History, MemorySnapshotStore
from sana_stream.engine.session.session import Session
from sana_stream.engine.snapshot.snapshot import Snapshot
from sana_stream.errors import ConfigError

from .test_session import same, take

FIXTURES = [HealthCheck.function_scoped_fixture]
PROMPTS = ["a red boat", "night falls", "the sun rises over the sea"]
SECOND = 16  # frames

ACTIONS = st.one_of(
    st.just(("next",)),
    st.just(("next",)),
    st.tuples(st.just("switch"), st.sampled_from(PROMPTS)),
    st.tuples(st.just("reseed"), st.integers(0, 2)),
    st.just(("mark",)),
    st.just(("return",)),
    st.tuples(st.just("rewind"), st.floats(0, 2)),
    st.just(("resume",)),
)


@dataclass
class Walk:
    """A stream under random actions, and the blocks that remain of it."""

    engine: Engine
    folder: Path
    session: Session
    path: list[tuple[int, Block]] = field(default_factory=list)  # seeds and blocks
    marked: tuple[Snapshot, list[tuple[int, Block]]] | None = None

    def take(self, action: str, *given: Any) -> None:
        match action:
            case "next":
                seed = self.session.snapshot().settings.seed
                self.path.append((seed, next(self.session)))
            case "switch":
                self.session.switch(*given)
            case "reseed":
                self.session.reseed(*given)
            case "mark":
                self.marked = self.session.snapshot(), list(self.path)
            case "return" if self.marked is not None:
                snapshot, path = self.marked
                self.resume_at(self.engine.session_from(snapshot))
                self.path = list(path)
            case "rewind":
                self.rewind(*given)
            case "resume":
                self.session.save(self.folder / "walk.ckpt")
                self.resume_at(self.engine.resume(self.folder / "walk.ckpt"))

    def resume_at(self, session: Session) -> None:
        self.session = session
        session.keep_history(seconds=100)

    def rewind(self, seconds: float) -> None:
        try:
            start = self.session.rewind(seconds)
        except ConfigError:  # further than the history reaches
            return
        self.path = [(seed, block) for seed, block in self.path if block.start < start]


@settings(max_examples=25, deadline=None, suppress_health_check=FIXTURES)
@given(actions=st.lists(ACTIONS, min_size=4, max_size=12))
def test_any_actions_equal_the_straight_run(
    tiny_engine: Engine, tmp_path: Path, actions: list[tuple[Any, ...]]
):
    def begin() -> Session:
        return tiny_engine.session(PROMPTS[0], memory="window=2,sink=1", timesteps=(1000, 700))

    walk = Walk(tiny_engine, tmp_path, begin())
    walk.resume_at(walk.session)
    for action in actions:
        walk.take(*action)
    straight, expected = begin(), []
    for seed, block in walk.path:
        straight.switch(block.prompt)
        straight.reseed(seed)
        expected.append(next(straight))
    assert same([block for _, block in walk.path], expected)
    assert [block.start for _, block in walk.path] == [block.start for block in expected]


@pytest.mark.parametrize("on_disk", [False, True])
def test_rewind_resumes_at_the_block_of_that_time(
    tiny_engine: Engine, tmp_path: Path, on_disk: bool
):
    """Blocks start at 0, 9, 17, 25, 33, 41 ...; 16 frames a second."""
    session = tiny_engine.session(PROMPTS[0])
    session.keep_history(seconds=1, folder=tmp_path / "history" if on_disk else None)
    blocks = take(session, 6)  # the next one starts at 49
    assert session.rewind(0) == 49
    assert session.rewind(0.5) == 41
    assert same([next(session)], blocks[5:])
    assert session.rewind(1) == 33
    assert session.rewind(0.1) == 25
    assert same(take(session, 3), blocks[3:])
    if on_disk:
        assert len(list((tmp_path / "history").iterdir())) == 3


def test_rewind_beyond_history_is_refused(tiny_engine: Engine):
    session = tiny_engine.session(PROMPTS[0])
    take(session, 2)
    with pytest.raises(ConfigError, match=r"cannot rewind 1 s: the history holds 0\.0 s"):
        session.rewind(1)
    session.keep_history(seconds=1)
    before = session.snapshot()
    take(session, 1)
    with pytest.raises(ConfigError, match=r"cannot rewind 2 s: the history holds 0\.5 s"):
        session.rewind(1.5 + 0.5)
    assert session.rewind(0.5) == 17
    assert session.snapshot().next_index == before.next_index


def test_history_is_bounded_and_shared_tensors_count_once(tiny_engine: Engine):
    session = tiny_engine.session(PROMPTS[0], memory="window=4,sink=1")
    alone = History(MemorySnapshotStore(tiny_engine.device), frames=10**6, max_bytes=1 << 40)
    bounded = History(MemorySnapshotStore(tiny_engine.device), frames=10**6, max_bytes=30_000)
    for _ in range(12):
        for history in (alone, bounded):
            history.keep(session.next_start, session.snapshot())
        next(session)
    each = replace(session.snapshot(), cache=None).nbytes
    assert alone.nbytes < 12 * each * 0.6  # four of five slots are shared with the snapshot before
    assert bounded.nbytes <= 30_000 < alone.nbytes
    assert alone.oldest == 0
    assert bounded.oldest is not None
    assert bounded.oldest > 0


def test_empty_history_is_refused(tiny_engine: Engine):
    with pytest.raises(ConfigError, match="keeps nothing"):
        tiny_engine.session(PROMPTS[0]).keep_history(seconds=0)
