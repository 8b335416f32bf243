"""The mark of generated media from the command line, through checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest

from sana_stream.streaming.ai_mark import DIGITAL_SOURCE_TYPE

from ..command import run
from ..interruptions import make_interrupted, posix

PROMPT = ("--prompt", "a fox", "--frames", "9")


def facts(path: str) -> dict[str, object]:
    with av.open(path) as container:
        return json.loads(container.metadata["comment"])


def test_video_is_marked_unless_it_is_asked_not_to(
    tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str]
):
    assert run(*PROMPT, "--out", "a.mp4", *tiny) == 0
    assert "AI Act" not in capfd.readouterr().err
    found = facts("a.mp4")
    assert found["digital_source_type"] == DIGITAL_SOURCE_TYPE
    assert found["model"] == "tiny"
    assert run(*PROMPT, "--out", "b.mp4", "--no-mark", *tiny) == 0
    (line,) = (line for line in capfd.readouterr().err.splitlines() if "AI Act" in line)
    assert "leave --no-mark out" in line
    assert set(facts("b.mp4")) == {"seed", "run"}
    assert b"trainedAlgorithmicMedia" not in Path("b.mp4").read_bytes()
    assert b"trainedAlgorithmicMedia" not in Path("b.vtt").read_bytes()


@posix
@pytest.mark.parametrize("choice", [(), ("--no-mark",)], ids=["marked", "not-marked"])
def test_resumed_video_is_marked_as_it_was_begun(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, choice: tuple[str, ...]
):
    make_interrupted(monkeypatch, 2, "a.mp4", *tiny, *choice)
    assert run("resume", "a.mp4") == 0
    assert (b"trainedAlgorithmicMedia" in Path("a.mp4").read_bytes()) == (not choice)
    assert ("digital_source_type" in facts("a.mp4")) == (not choice)
