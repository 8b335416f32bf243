"""The guard: it acts once when pictures drift, and judges a stream that goes on as before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sana_stream.engine.block import Block
from sana_stream.engine.engine import Engine
from sana_stream.engine.guard import Guard
from sana_stream.engine.look import Look
from sana_stream.engine.session import Session
from sana_stream.engine.snapshot_file import load_snapshot, save_snapshot

SINK = "window=2,sink=1"


def watched(engine: Engine, action: str) -> tuple[Session, Guard]:
    session = engine.session("a red boat", memory=SINK)
    return session, Guard(session, engine, action, limit=2)


def looking(session: Session, brightness: float) -> Block:
    """The session's next block, as if it looked so bright."""
    block = next(session)
    return replace(block, stats=replace(block.stats, look=Look(brightness, 0.2, 0.2)))


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("warn", "it drifts away from its beginning"),
        ("anchor", "the memory goes back to the stream's first blocks"),
        ("restart", "the stream starts again from the last good picture"),
    ],
)
def test_a_guard_acts_once_and_waits(tiny_engine: Engine, action: str, words: str):
    session, guard = watched(tiny_engine, action)
    assert guard.watch(looking(session, 0.2)) is None
    assert guard.watch(looking(session, 0.3)) is None
    good = session.snapshot()
    block = looking(session, 0.8)
    before = session.snapshot()
    assert guard.watch(block) == f"block 2 looks {0.82 / 0.27:.1f} times different; {words}"
    match action:
        case "warn":
            assert session.snapshot() is before
        case "anchor":
            assert [s.frames for s in session.snapshot().states[0].memory.slots] == [3, 0, 0]
        case "restart":
            assert session.snapshot().pending is good.pending
    for _ in range(3):
        assert guard.watch(looking(session, 0.8)) is None


def test_a_new_prompt_may_look_as_it_likes(tiny_engine: Engine):
    session, guard = watched(tiny_engine, "warn")
    assert guard.watch(looking(session, 0.8)) is None
    session.switch("night falls")
    assert guard.watch(looking(session, 0.1)) is None
    assert guard.watch(looking(session, 0.8)) is not None


def test_a_guard_that_is_off_does_nothing(tiny_engine: Engine):
    session, guard = watched(tiny_engine, "off")
    assert [guard.watch(looking(session, light)) for light in (0.1, 0.9)] == [None, None]


# bright, then drifting for long: an action, four quiet blocks of which one is good, another action
BRIGHTNESS = (0.2, 0.3, 0.25, 0.8, 0.9, 0.3, 0.9, 0.8, 0.9, 0.8, 0.2)


def judged(
    session: Session, guard: Guard, lights: tuple[float, ...]
) -> list[tuple[str | None, torch.Tensor]]:
    """What the guard says of blocks of such brightness, and their latents."""
    blocks = ((light, looking(session, light)) for light in lights)
    return [(guard.watch(block), block.latents) for _, block in blocks]


@pytest.mark.parametrize("action", ["off", "warn", "anchor", "restart"])
def test_a_stream_that_is_gone_on_with_is_judged_as_if_it_had_not_stopped(
    tiny_engine: Engine, tmp_path: Path, action: str
):
    straight = judged(*watched(tiny_engine, action), BRIGHTNESS)
    assert sum(said is not None for said, _ in straight) == (0 if action == "off" else 2)
    session, guard = watched(tiny_engine, action)
    for index, light in enumerate(BRIGHTNESS):
        again = judged(session, guard, (light,))
        assert again[0][0] == straight[index][0], f"block {index}"
        assert torch.equal(again[0][1], straight[index][1]), f"block {index}"
        path = tmp_path / f"{index}.ckpt"
        save_snapshot(path, guard.known(session.snapshot()), tiny_engine)
        session = tiny_engine.session_from(load_snapshot(path, tiny_engine))
        guard = Guard(session, tiny_engine, action, limit=2)


def test_a_guard_that_does_not_begin_again_keeps_no_pictures(tiny_engine: Engine):
    session, guard = watched(tiny_engine, "restart")
    judged(session, guard, (0.2, 0.3))
    known = guard.known(session.snapshot())
    assert known.watch is not None
    assert known.watch.good == session.snapshot().ending
    session = tiny_engine.session_from(known)
    taken = Guard(session, tiny_engine, "warn").known(session.snapshot()).watch
    assert taken == replace(known.watch, good=None)
    assert session.snapshot().watch is None
