"""Prompts that are blended in: by stories, typed lines and branches, and resumed meanwhile."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from sana_stream import Run, RunConfig
from sana_stream.engine.engine import Engine
from sana_stream.engine.snapshot.file import read_header
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.control.pending_changes import PendingChanges

from ...command import pictures, run
from ...interruptions import LIVE, at_block, interrupt, posix

# blocks of the tiny model have 9, 8, 8 ... frames; the second prompt begins with block 1
STORY = "0:00 a red boat\n0:00.5 ~2 night falls\n0:02.5 ~1 a fox :0.5 | the sea :0.5"
TURNS = {1: ("night falls", 2), 5: ("a fox :0.5 | the sea :0.5", 1)}


def by_hand(engine: Engine, blocks: int, turns: dict[int, tuple[str, int]]) -> np.ndarray:
    session, made = engine.session("a red boat"), []
    for index in range(blocks):
        prompt, over = turns.get(index, (session.prompt, 0))
        session.switch(prompt, transition_blocks=over)
        made.append(next(session).frames)
    return np.concatenate(made)


@pytest.mark.parametrize("live", [False, True])
def test_story_is_blended(
    tiny: tuple[str, ...],
    tiny_engine: Engine,
    tmp_path: Path,
    live: bool,
    capfd: pytest.CaptureFixture[str],
):
    (tmp_path / "s.txt").write_text(STORY)
    more = ("--watch", "--no-realtime") if live else ()
    asked = ("--prompt-file", "s.txt", *more, "--frames", "57")
    assert run(*asked, "--out", "a/%04d.png", *tiny) == 0
    assert np.array_equal(pictures("a"), by_hand(tiny_engine, 7, TURNS))
    said = capfd.readouterr().err
    assert "from frame 9 (0:00.562): night falls (blended in over 2 blocks)" in said
    assert "(0:02.562): a fox :0.5 | the sea :0.5 (blended in over 1 block)" in said


def test_typed_prompt_is_blended_and_its_rewind_continues(
    tiny: tuple[str, ...], tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    """Rewound by one block in the blend, the stream goes through the same mixtures again."""
    changes = {1: PendingChanges(prompt="night falls", blend=3), 3: PendingChanges(back=0.5)}
    calls = itertools.count()

    def drain(*_: object) -> PendingChanges:
        return changes.get(next(calls), PendingChanges())

    monkeypatch.setattr(LiveControl, "drain", drain)
    assert run(*LIVE, "--frames", "41", "--out", "a/%04d.png", *tiny) == 0
    made = by_hand(tiny_engine, 4, {1: ("night falls", 3)})
    expected = np.concatenate((made[:25], made[17:33]))
    assert np.array_equal(pictures("a"), expected)


@posix
def test_interrupted_blend_is_resumed_and_branched(
    tiny: tuple[str, ...], tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "s.txt").write_text(STORY)
    asked = ("--prompt-file", "s.txt", "--frames", "57", *tiny)
    with monkeypatch.context() as patch:
        at_block(patch, 1, interrupt)
        run(*asked, "--out", "a/%04d.png")
    checkpoint = next(Path().rglob("*.ckpt"))
    header = read_header(checkpoint)
    assert header.blend is not None
    branch = ("branch", checkpoint, "--prompt", "~1 the moon", "--frames", "24")
    assert run(*branch, "--out", "b/%04d.png") == 0
    assert run("resume", "a/%04d.png") == 0
    assert np.array_equal(pictures("a"), by_hand(tiny_engine, 7, TURNS))
    turns = {1: TURNS[1], header.index: ("the moon", 1)}
    expected = by_hand(tiny_engine, header.index + 3, turns)
    assert np.array_equal(pictures("b"), expected[-24:])


def test_control_in_python_blends(tiny_engine: Engine, tmp_path: Path):
    config = RunConfig("a red boat", [tmp_path / "%04d.png"], endless=True)
    with Run(tiny_engine, config) as made:
        for progress in made:
            if progress.blocks == 1:
                made.control.prompt("night falls", transition_blocks=2)
            if progress.blocks == 4:
                made.control.end()
    assert np.array_equal(pictures(tmp_path), by_hand(tiny_engine, 4, {1: ("night falls", 2)}))


@pytest.mark.parametrize(
    ("story", "message"),
    [
        (
            "0:00 a\n0:01 ~9 b\n0:02 c",
            "a blend over 9 blocks is not complete in the 2 that its prompt is shown for: write ~1",
        ),
        ("0:00 a\n0:01 b\n0:03 ~2 c", "line 3: a blend over 2 blocks is not complete in the 2"),
        ("0:00 a\n0:01 ~1 b\n0:01.05 c", "line 2: a blend over 1 block is not complete in the 0"),
        ("0:00 ~1 a\n0:01 b", "line 1: the first prompt has no prompt before it"),
        ("0:00 a :.5 | b :.6", "line 1: the weights 0.5 + 0.6 add up to 1.1, not to 1"),
    ],
)
def test_wrong_blends_are_one_line(
    tiny: tuple[str, ...],
    tmp_path: Path,
    story: str,
    message: str,
    capfd: pytest.CaptureFixture[str],
):
    (tmp_path / "s.txt").write_text(story)
    assert run("--prompt-file", "s.txt", "--seconds", "4", "--out", "a.mp4", *tiny) == 2
    said = capfd.readouterr().err
    assert message in said
    assert len(said.strip().splitlines()) == 1
    assert not Path("a.mp4").exists()
