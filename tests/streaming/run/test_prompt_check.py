"""Warnings about a story: what was left out, what the model truncates; and negative prompts."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from sana_stream.engine.engine import Engine
from sana_stream.streaming.control.pending_changes import PendingChanges

from ...command import pictures, run
from ...interruptions import LIVE, at_block, interrupt, posix, submit_before

LONG = "a red boat " * 12 + "the moon rises"
TOO_LONG = 'is too long: it has 41 tokens, and the model reads 12: it is cut off before "'


def test_truncated_prompt_is_reported_at_start(
    tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str], tmp_path: Path
):
    (tmp_path / "s.txt").write_text(f"a red boat\n{LONG}\n{LONG} --neg {LONG}\n")
    story = ("--prompt-file", "s.txt", "--frames", "25")
    assert run(*story, "--out", "a.mp4", *tiny) == 0
    said = capfd.readouterr().err
    assert said.count("is too long") == 1
    assert said.index(TOO_LONG) < said.index("from frame 9")
    assert "its negative prompts have no effect at guidance 1 and are left out" in said
    assert run(*story, "--guidance", "2", "--out", "b.mp4", *tiny) == 0
    said = capfd.readouterr().err
    assert "negative prompt: " in said
    assert "no effect" not in said


def test_truncated_live_prompt_is_reported(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    submit_before(monkeypatch, 2, PendingChanges(prompt=LONG, negative=LONG))
    assert run(*LIVE, "--frames", "33", "--guidance", "2", "--out", "a.mp4", *tiny) == 0
    said = capfd.readouterr().err
    assert said.count("is too long") == 2
    assert "negative prompt: " in said


def test_truncated_prompt_from_python_logs_a_warning(
    tiny_engine: Engine, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING):
        tiny_engine.encode_prompt("a red boat")
        assert not caplog.records
        tiny_engine.encode_prompt(LONG)
        tiny_engine.encode_negative_prompt(LONG)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert all("is too long" in line and "the model reads 12" in line for line in messages)


@pytest.mark.parametrize("instructed", [True, False])
@pytest.mark.parametrize("words", range(6, 16))
def test_only_truncated_prompts_are_reported(tiny_engine: Engine, instructed: bool, words: int):
    """A prompt is too long when one more word changes nothing."""
    encoder = tiny_engine.text_encoder

    def embedded(count: int) -> np.ndarray:
        text = " ".join(["boat"] * (count - 1) + ["moon"])
        states, mask = encoder.encode(text, with_instruction=instructed)
        return states.numpy() * mask[..., None].numpy()

    reported = encoder.unread(" ".join(["boat"] * words), with_instruction=instructed)
    unread = np.array_equal(embedded(words), embedded(words + 1))
    assert (reported is not None) == unread


def test_omitted_parts_of_a_story_are_reported(
    tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str], tmp_path: Path
):
    (tmp_path / "s.srt").write_text(
        "1\n00:00:00,5 --> 00:00:01,0\na red boat\n\n2\n0:0:2 --> 0:0:3\n"
    )
    assert run("--prompt-file", "s.srt", "--frames", "9", "--out", "a.mp4", *tiny) == 0
    said = capfd.readouterr().err
    assert "s.srt: its first cue starts at 0:00.5 and is moved to 0:00" in said
    assert "s.srt, line 6: cues without text are ignored" in said


def test_reread_story_is_reported_like_the_first(
    tiny: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
):
    story = tmp_path / "s.txt"
    story.write_text("a red boat\n")

    def edit() -> None:
        story.write_bytes(f"{LONG} caf\xe9\n".encode("latin-1"))

    at_block(monkeypatch, 2, edit)
    watch = ("--prompt-file", str(story), "--watch", "--no-realtime", "--frames", "33")
    assert run(*watch, "--out", "a.mp4", *tiny) == 0
    said = capfd.readouterr().err
    assert "is not UTF-8: the file was read as Windows-1252" in said
    assert "is too long" in said


NEGATIVE = '{"0": "a red boat --neg the moon", "9": "a fox runs", "17": "night --neg the sun"}'


def under_negatives(engine: Engine, blocks: int) -> np.ndarray:
    session, made = engine.session("a red boat", guidance=2.0, negative_prompt="rain"), []
    turns = [("a red boat", "the moon"), ("a fox runs", "rain"), ("night", "the sun")]
    for index in range(blocks):
        session.switch(*turns[min(index, 2)])
        made.append(next(session).frames)
    return np.concatenate(made)


@pytest.mark.parametrize("live", [False, True])
def test_negative_prompts_apply_with_their_prompts(
    tiny: tuple[str, ...], tiny_engine: Engine, tmp_path: Path, live: bool
):
    (tmp_path / "s.json").write_text(NEGATIVE)
    asked = ("--prompt-file", "s.json", "--guidance", "2", "--negative-prompt", "rain")
    more = ("--watch", "--no-realtime") if live else ()
    assert run(*asked, *more, "--frames", "33", "--out", "a/%04d.png", *tiny) == 0
    shown = pictures("a")
    assert np.array_equal(shown, under_negatives(tiny_engine, 5)[: len(shown)])


@posix
def test_story_with_negative_prompts_resumes_equally(
    tiny: tuple[str, ...], tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "s.json").write_text(NEGATIVE)
    asked = ("--prompt-file", "s.json", "--guidance", "2", "--negative-prompt", "rain")
    with monkeypatch.context() as patch:
        at_block(patch, 2, interrupt)
        run(*asked, "--frames", "33", "--out", "a/%04d.png", *tiny)
    assert run("resume", "a/%04d.png") == 0
    shown = pictures("a")
    assert len(shown) == 33
    assert np.array_equal(shown, under_negatives(tiny_engine, 5)[:33])
