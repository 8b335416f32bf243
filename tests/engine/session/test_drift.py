"""The drift guard: it acts once on drift, and continues equally in a resumed stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sana_stream.engine.block import Block
from sana_stream.engine.engine import Engine
from sana_stream.engine.frame_stats import FrameStats
from sana_stream.engine.session.drift import DriftGuard
from sana_stream.engine.session.session import Session
from sana_stream.engine.snapshot.file import load_snapshot, save_snapshot

SINK = "window=2,sink=1"


def watched(engine: Engine, action: str) -> tuple[Session, DriftGuard]:
    session = engine.session("a red boat", memory=SINK)
    return session, DriftGuard(session, engine, action, limit=2)


def with_brightness(session: Session, brightness: float) -> Block:
    """Return the session's next block with a given brightness in its statistics."""
    block = next(session)
    return replace(block, stats=replace(block.stats, look=FrameStats(brightness, 0.2, 0.2)))


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("warn", "no action is taken"),
        ("anchor", "the memory is reset to the stream's first blocks"),
        ("restart", "the stream is restarted from the last block without drift"),
    ],
)
def test_guard_acts_once_and_waits(tiny_engine: Engine, action: str, words: str):
    session, guard = watched(tiny_engine, action)
    assert guard.check(with_brightness(session, 0.2)) is None
    assert guard.check(with_brightness(session, 0.3)) is None
    good = session.snapshot()
    block = with_brightness(session, 0.8)
    before = session.snapshot()
    assert guard.check(block) == f"block 3 has drifted by a factor of {0.82 / 0.27:.1f}; {words}"
    match action:
        case "warn":
            assert session.snapshot() is before
        case "anchor":
            assert [s.frames for s in session.snapshot().states[0].memory.slots] == [3, 0, 0]
        case "restart":
            assert session.snapshot().uncommitted is good.uncommitted
    for _ in range(3):
        assert guard.check(with_brightness(session, 0.8)) is None


def switch_to_night(session: Session) -> None:
    session.switch("night falls")


def cut(session: Session) -> None:
    session.cut(np.full((32, 48, 3), 250, np.uint8))


CHANGES: dict[str, Callable[[Session], object]] = {
    "prompt": switch_to_night,
    "blend": lambda session: session.switch("night falls", transition_blocks=6),
    "mixture": lambda session: session.switch("a boat :0.3 | night falls :0.7"),
    "cut with a prompt": lambda session: session.cut(np.zeros((32, 48, 3), np.uint8), "night"),
    "negative prompt": lambda session: session.switch(session.prompt, "rain"),
    "seed": lambda session: session.reseed(5),
    "cut": cut,
    "back": lambda session: session.rewind(0.7),
}


@pytest.mark.parametrize("action", ["warn", "anchor", "restart"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_planned_change_is_not_drift(
    tiny_engine: Engine, change: Callable[[Session], object], action: str
):
    """A planned change is not drift; later blocks are compared with the new look."""
    session, guard = watched(tiny_engine, action)
    session.keep_history(60)
    assert all(said is None for said, _ in judged(session, guard, (0.8,) * 6))
    change(session)
    coming = (0.75, 0.5, 0.3, 0.2, 0.15, 0.12, 0.11, 0.1, 0.1)
    for light in coming:
        block, before = with_brightness(session, light), session.snapshot()
        assert guard.check(block) is None
        assert session.snapshot() is before
    assert all(said is None for said, _ in judged(session, guard, (0.1,) * 20))
    (said, _), *_ = judged(session, guard, (0.8,))
    assert said is not None


@pytest.mark.parametrize("prompt", ["a red boat", "night falls"])
def test_branch_is_not_drift(tiny_engine: Engine, prompt: str):
    """A branch under another prompt or seed has its own look, from which it is judged."""
    session, guard = watched(tiny_engine, "warn")
    judged(session, guard, (0.8,) * 6)
    saved = guard.with_reference(session.snapshot())
    branch = tiny_engine.session_from(replace(saved, settings=replace(saved.settings, seed=9)))
    guard = DriftGuard(branch, tiny_engine, "warn", limit=2)
    branch.switch(prompt)
    lights = (0.75, 0.5, 0.3, 0.2, 0.15, 0.12, 0.11, 0.1, 0.1, *(0.1,) * 20)
    assert all(said is None for said, _ in judged(branch, guard, lights))
    (said, _), *_ = judged(branch, guard, (0.8,))
    assert said is not None


@given(
    looks=st.lists(st.floats(0.02, 0.9), min_size=2, max_size=6),
    pace=st.floats(0.3, 1),
    blocks=st.integers(2, 30),
)
def test_repeated_slow_changes_are_not_drift(
    tiny_engine: Engine, looks: list[float], pace: float, blocks: int
):
    """Each block moves by a fraction towards the look of its prompt."""
    session, guard = watched(tiny_engine, "warn")
    block, light = next(session), looks[0]
    for number, wanted in enumerate(looks):
        for n in range(blocks):
            light += pace * (wanted - light)
            seen = FrameStats(light, 0.2, 0.2)
            shown = replace(block, index=number * blocks + n + 1, prompt=f"p{number}")
            assert guard.check(replace(shown, stats=replace(block.stats, look=seen))) is None


@given(settled=st.integers(8, 40), away=st.floats(0.62, 0.95))
def test_drift_after_a_change_is_detected(tiny_engine: Engine, settled: int, away: float):
    session, guard = watched(tiny_engine, "warn")
    block, index = next(session), iter(range(1, 1000))

    def said(prompt: str, light: float) -> str | None:
        stats = replace(block.stats, look=FrameStats(light, 0.2, 0.2))
        return guard.check(replace(block, index=next(index), prompt=prompt, stats=stats))

    assert said("a", 0.9) is None
    assert all(said("b", 0.3) is None for _ in range(settled + 12))
    path = [0.3 + (away - 0.3) * step / 30 for step in range(31)]  # slower than any planned change
    assert any(said("b", light) for light in [*path, away + 0.05])


def test_change_from_first_image_to_prompt_is_not_drift(tiny_engine: Engine):
    session = tiny_engine.session("a red boat", image=np.zeros((32, 48, 3), np.uint8))
    guard = DriftGuard(session, tiny_engine, "restart", limit=2, given=True)
    lights = (0.02, 0.2, 0.4, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7)
    assert all(said is None for said, _ in judged(session, guard, lights))


def test_story_of_embedded_model_has_no_drift():
    engine = Engine.load("pocket", device="cpu")
    session = engine.session("a red boat", seed=0)
    guard = DriftGuard(session, engine, "warn")
    for prompt in ("a red boat", "snow", "black night"):
        session.switch(prompt)
        for _ in range(5):
            assert guard.check(next(session)) is None, prompt


def test_guard_off_does_nothing(tiny_engine: Engine):
    session, guard = watched(tiny_engine, "off")
    assert [guard.check(with_brightness(session, light)) for light in (0.1, 0.9)] == [None, None]


# bright, then drifting for long: an action, four quiet blocks of which one is good, another action
BRIGHTNESS = (0.2, 0.3, 0.25, 0.8, 0.9, 0.3, 0.9, 0.8, 0.9, 0.8, 0.2)


def judged(
    session: Session, guard: DriftGuard, lights: tuple[float, ...]
) -> list[tuple[str | None, torch.Tensor]]:
    """Return the guard's message and the latents of each block of a given brightness."""
    blocks = ((light, with_brightness(session, light)) for light in lights)
    return [(guard.check(block), block.latents) for _, block in blocks]


@pytest.mark.parametrize("action", ["off", "warn", "anchor", "restart"])
def test_guard_of_resumed_stream_equals_undisturbed_one(
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
        save_snapshot(path, guard.with_reference(session.snapshot()), tiny_engine)
        session = tiny_engine.session_from(load_snapshot(path, tiny_engine))
        guard = DriftGuard(session, tiny_engine, action, limit=2)


def test_guard_without_restart_keeps_no_recovery_point(tiny_engine: Engine):
    session, guard = watched(tiny_engine, "restart")
    judged(session, guard, (0.2, 0.3))
    known = guard.with_reference(session.snapshot())
    assert known.drift_reference is not None
    assert known.drift_reference.recovery == session.snapshot().recovery_point
    session = tiny_engine.session_from(known)
    taken = (
        DriftGuard(session, tiny_engine, "warn").with_reference(session.snapshot()).drift_reference
    )
    assert taken == replace(known.drift_reference, recovery=None)
    assert session.snapshot().drift_reference is None
