"""A running video whose coming prompts a client replaces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sana_stream.engine.engine import Engine
from sana_stream.engine.session.session import Session
from sana_stream.errors import CommandError
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.control.pending_changes import PendingChanges
from sana_stream.streaming.control.scheduled_prompt import ScheduledPrompt
from sana_stream.streaming.run.config import RunConfig
from sana_stream.streaming.run.runner import Run

from ...command import pictures, run
from ...interruptions import LIVE, at_block, interrupt, posix

Change = Callable[[LiveControl], object]


def submit_at(monkeypatch: pytest.MonkeyPatch, changes: dict[int, Change]) -> None:
    """Change a run before the blocks that start at these frames of the video."""
    drain = LiveControl.drain

    def drained(control: LiveControl, frame: int | None = None) -> PendingChanges:
        assert frame is not None
        changes.get(frame, lambda _: None)(control)
        return drain(control, frame)

    monkeypatch.setattr(LiveControl, "drain", drained)


def story(*cues: tuple[Any, ...]) -> Change:
    return lambda control: control.replace_story([ScheduledPrompt(*cue) for cue in cues])


def frames_of(engine: Engine, blocks: int, turns: dict[int, tuple[str, int]]) -> np.ndarray:
    """The frames of a session with other prompts from some blocks on, each with its blend."""
    session, made = engine.session("a red boat"), []
    for index in range(blocks):
        if index in turns:
            prompt, blend = turns[index]
            session.switch(prompt, transition_blocks=blend)
        made.append(next(session).frames)
    return np.concatenate(made)


EDITS: dict[int, Change] = {
    # blocks start at frames 0, 9, 17, 25 ..., at 16 frames a second
    9: story((2.0, "the moon")),
    17: lambda control: control.prompt("a fox"),
    25: story((33 / 16, "the night falls", 2), (3.5, "the sun"), (4.0, "never")),
    41: story((0.1, "skipped"), (0.2, "the hill")),
}
TURNS = {2: ("a fox", 0), 4: ("the night falls", 2), 5: ("the hill", 0)}


def test_coming_prompts_are_replaced(
    tiny: tuple[str, ...], tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a client typed holds until the new story's next prompt; the past stays."""
    submit_at(monkeypatch, EDITS)
    assert run(*LIVE, "--frames", "65", "--out", "a/%04d.png", *tiny) == 0
    assert np.array_equal(pictures("a"), frames_of(tiny_engine, 8, TURNS))


def test_prompt_that_a_client_typed_before_can_return(
    tiny: tuple[str, ...], tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The story's own prompt is scheduled after a typed one: it is not taken for the held one."""
    changes = {9: lambda control: control.prompt("a fox"), 17: story((25 / 16, "a red boat"))}
    submit_at(monkeypatch, changes)
    assert run(*LIVE, "--frames", "41", "--out", "a/%04d.png", *tiny) == 0
    turns = {1: ("a fox", 0), 3: ("a red boat", 0)}
    assert np.array_equal(pictures("a"), frames_of(tiny_engine, 5, turns))


@posix
@pytest.mark.parametrize("kind", ["edited", "watched"])
def test_changed_story_is_resumed(
    kind: str, tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint holds the story as it was changed, by a client or in its file."""
    monkeypatch.setattr("secrets.token_hex", lambda size: "ab" * size)  # the id of a live run
    file = Path("story.txt")
    watched: dict[int, Change] = {9: lambda _: file.write_text("a red boat\n0:02 the moon\n")}
    changes: dict[int, Change] = watched if kind == "watched" else {9: story((2.0, "the moon"))}
    for name in ("b.mp4", "a.mp4"):
        file.write_text("a red boat\n")
        options = ("--prompt-file", "story.txt", "--watch", "--no-realtime", "--frames", "60")
        with monkeypatch.context() as patch:
            submit_at(patch, changes)
            if name == "a.mp4":
                at_block(patch, 3, interrupt)
            assert run(*options, *tiny, "--out", name) == (130 if name == "a.mp4" else 0)
    assert run("resume", "a.mp4") == 0
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()
    assert "the moon" in Path("a.vtt").read_text()


@pytest.mark.parametrize(
    ("cues", "message"),
    [
        ([(2.0, "a fox"), (2.0, "a train")], "times must ascend"),
        ([(2.0, " ")], "the prompt at 2 s is empty"),
        ([(2.0, "a fox<image>/etc/passwd")], "names a picture"),
        ([(2.0, "a fox", 9), (2.6, "a train")], "a blend over 9 blocks is not complete"),
        ([(9.0, "a fox")], "the video ends at 0:03.75"),
        ([(2.0, "a fox :0.7 | a train :0.2")], "0.9"),
        ([(2.0 + n, "a fox") for n in range(201)], "at most 200"),
    ],
)
def test_schedule_that_does_not_fit_is_refused(
    cues: list[tuple[Any, ...]], message: str, tiny_engine: Engine, tmp_path: Path
) -> None:
    config = RunConfig(
        story="a red boat",
        outputs=[tmp_path / "a.mp4"],
        frames=60,
        directed=True,
        checkpoint=False,
        realtime=False,
    )
    with Run(tiny_engine, config) as made:
        next(made)
        with pytest.raises(CommandError, match=message):
            made.control.replace_story([ScheduledPrompt(*cue) for cue in cues])
        assert made.control.waiting_story is None
        made.control.end()


def test_stream_is_rewound_to_a_time_of_its_video(
    tiny: tuple[str, ...],
    tiny_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Blocks of the stream in the video: 0 1 2 3 | 2 3 | 1; the part that was left is refused."""
    changes: dict[int, Change] = {
        33: lambda control: control.back_to(17 / 16),
        49: lambda control: control.submit("/back to 1.5"),  # was left
        57: lambda control: control.back_to(9 / 16),
    }
    submit_at(monkeypatch, changes)
    assert run(*LIVE, "--frames", "65", "--out", "a/%04d.png", *tiny) == 0
    session: Session = tiny_engine.session("a red boat")
    made = [next(session).frames for _ in range(5)]
    assert np.array_equal(
        pictures("a"), np.concatenate([made[index] for index in (0, 1, 2, 3, 2, 3, 4, 1)])
    )
    assert "cannot rewind into a part" in capfd.readouterr().err
