"""Runs controlled live: by typed lines, by a watched story file, on the web page."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from sana_stream.engine.engine import Engine
from sana_stream.engine.session.session import Session
from sana_stream.engine.snapshot.snapshot import Snapshot
from sana_stream.engine.story.read import read_story
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.control.pacing import RealtimePacer

from ...command import pictures, run

PICTURES = ("--out", "frames/%04d.png")  # exact, unlike video
FAST = "--no-realtime"


@pytest.fixture
def during(monkeypatch: pytest.MonkeyPatch) -> dict[int, Callable[[], object]]:
    """Callbacks to run while the block of a given number is sampled."""
    actions: dict[int, Callable[[], object]] = {}
    draft = Session.sample

    def acting(session: Session, head: Snapshot) -> object:
        actions.get(head.next_index, lambda: None)()
        return draft(session, head)

    monkeypatch.setattr(Session, "sample", acting)
    return actions


class Keyboard:
    """A keyboard whose `type` returns once each line was read."""

    def __init__(self) -> None:
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._read = threading.Event()

    def type(self, *lines: str) -> None:
        for line in lines:
            self._read.clear()
            self._lines.put(line)
            assert self._read.wait(120)

    def lines(self) -> Iterator[str]:
        while True:
            yield self._lines.get()
            self._read.set()


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Keyboard:
    keyboard = Keyboard()
    monkeypatch.setattr("sana_stream.cli.keyboard.typed_lines", keyboard.lines)
    return keyboard


def expected(engine: Engine, blocks: int, turns: dict[int, Callable[[Session], object]]) -> Any:
    """Return the frames of a session, with `turns` applied before the given blocks."""
    session, made = engine.session("a red boat"), []
    for index in range(blocks):
        turns.get(index, lambda _: None)(session)
        made.append(next(session).frames)
    return np.concatenate(made)


def starts(captions: str) -> dict[str, int]:
    """Return the first frame of each prompt, by the captions file of a video."""
    return {cue.prompt: round((cue.start_seconds or 0) * 16) for cue in read_story(captions).cues}


def test_typed_lines_take_effect_at_logged_frame(
    tiny: tuple[str, ...],
    tiny_engine: Engine,
    keyboard: Keyboard,
    during: dict[int, Callable[[], object]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    Path("story.txt").write_text("a red boat\n0:02 a fox\n")
    during[1] = lambda: keyboard.type("the sea", "the night  falls", "/dance")
    during[4] = lambda: keyboard.type("/seed 9")
    during[6] = lambda: keyboard.type("/stop")
    argv = ("--prompt-file", "story.txt", "--interactive", FAST, *PICTURES, "--out", "a.mkv")
    assert run(*argv, *tiny) == 0
    turns = {
        2: lambda session: session.switch("the night falls"),
        4: lambda session: session.switch("a fox"),  # 0:02 is frame 32: block 4 is the first after
        5: lambda session: session.reseed(9),
    }
    assert np.array_equal(pictures("frames"), expected(tiny_engine, 7, turns))
    lines = capfd.readouterr().err.splitlines()
    assert "from frame 17 (0:01.062): the night falls" in lines
    assert "from frame 33 (0:02.062): a fox" in lines
    assert "seed 9 from the next block on" in lines
    assert any(line.startswith("'/dance': commands are /pause, /resume") for line in lines)
    assert starts("a.vtt") == {"a red boat": 0, "the night falls": 17, "a fox": 33}


def test_repeated_prompt_is_reported(
    tiny: tuple[str, ...],
    keyboard: Keyboard,
    during: dict[int, Callable[[], object]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    during[1] = lambda: keyboard.type("a fox")
    assert run("a fox", "--interactive", FAST, "--frames", "33", *tiny) == 0
    said = capfd.readouterr().err
    assert said.count('"a fox" is the current prompt: nothing changes') == 1


def test_typed_negative_prompt_takes_effect(
    tiny: tuple[str, ...],
    tiny_engine: Engine,
    keyboard: Keyboard,
    during: dict[int, Callable[[], object]],
) -> None:
    during[0] = lambda: keyboard.type("/negative the sea")
    argv = ("--prompt", "a fox", "--interactive", FAST, "--frames", "17", "--guidance", "3")
    assert run(*argv, *PICTURES, *tiny) == 0
    session = tiny_engine.session("a fox", guidance=3.0)
    first = next(session).frames
    session.switch("a fox", "the sea")
    assert np.array_equal(pictures("frames"), np.concatenate([first, next(session).frames]))


def test_negative_prompt_without_guidance_is_reported(
    tiny: tuple[str, ...],
    keyboard: Keyboard,
    during: dict[int, Callable[[], object]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    during[0] = lambda: keyboard.type("/negative rain", f"/seed {1 << 70}")
    argv = ("--prompt", "a fox", "--interactive", FAST, "--frames", "17", *tiny)
    assert run(*argv) == 0
    said = capfd.readouterr().err
    assert "/negative has no effect at guidance 1: begin with --guidance 4" in said
    assert f"/seed: seed {1 << 70} is out of range" in said


def test_watched_story_is_reread_on_change(
    tiny: tuple[str, ...],
    tiny_engine: Engine,
    during: dict[int, Callable[[], object]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    story = Path("story.txt")
    story.write_text("a red boat\n0:09 a fox\n")
    during[1] = lambda: story.write_text("a red boat\n0:01 the night falls\n0:09 the moon\n")
    during[3] = lambda: story.write_text("a red boat\n0:03 the sun\n0:02 what is this\n")
    during[4] = story.unlink
    argv = ("--prompt-file", "story.txt", "--watch", FAST, "--seconds", "9.5", "--out", "a.mkv")
    assert run(*argv, *PICTURES, *tiny) == 0
    turns = {
        2: lambda session: session.switch("the night falls"),
        18: lambda session: session.switch("the moon"),
    }
    assert np.array_equal(pictures("frames"), expected(tiny_engine, 19, turns)[:152])
    lines = capfd.readouterr().err.splitlines()
    assert "story.txt has changed and was read again" in lines
    assert (
        "story.txt, line 3: 0:02 does not come after 0:03: times must ascend; "
        "the story stays as it was"
    ) in lines
    assert starts("a.vtt") == {"a red boat": 0, "the night falls": 17, "the moon": 145}


class Browser:
    """A client of the web page of a run in this process."""

    def __init__(self, said: str) -> None:
        found = re.search(r"the page is at http://127.0.0.1:(\d+)/", said)
        assert found, said
        self._port = int(found[1])

    def ask(self, path: str, body: str | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        connection.request("GET" if body is None else "POST", path, body)
        answer = connection.getresponse()
        result = answer.status, answer.read()
        connection.close()
        return result

    def status(self) -> dict[str, Any]:
        return json.loads(self.ask("/status")[1])


def test_stream_is_paused_and_controlled_on_its_page(
    tiny: tuple[str, ...],
    during: dict[int, Callable[[], object]],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held, seen = threading.Event(), []
    wait_while_paused = LiveControl.wait_while_paused

    def waiting(control: LiveControl) -> None:
        held.set()
        wait_while_paused(control)

    def direct(browser: Browser) -> None:
        assert held.wait(120)
        before = browser.status()
        assert browser.ask("/prompt", "the night falls")[0] == 202
        seen.extend([before, browser.status()])
        browser.ask("/command", "/resume")

    def pause() -> None:
        browser = Browser(capfd.readouterr().err)
        browser.ask("/command", "/pause")
        threading.Thread(target=direct, args=[browser], daemon=True).start()
        during[5] = lambda: browser.ask("/command", "/stop")

    monkeypatch.setattr(LiveControl, "wait_while_paused", waiting)
    during[2] = pause
    argv = ("--prompt", "a fox", "--prompt", "a boat", "--every", "9", "--web", "0", FAST)
    assert run(*argv, "--out", "a.mp4", *tiny) == 0
    before, after = seen
    assert before["state"] == after["state"] == "paused"
    assert before["blocks"] == after["blocks"] == 3
    assert after["waiting_prompt"] == "the night falls"
    assert before["shown"] == [{"start": 0, "prompt": "a fox", "transition_blocks": 0}]
    assert before["coming"] == [{"start": 145, "prompt": "a boat", "transition_blocks": 0}]
    assert before["total_seconds"] is None
    assert (before["title"], before["may_download"]) == ("a fox", True)
    assert starts("a.vtt") == {"a fox": 0, "the night falls": 25}
    assert len(pictures("a.mp4")) == 49
    assert "from frame 25 (0:01.562): the night falls" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("options", "waits"),
    [((), 0), (("--realtime",), 3), (("--interactive",), 3), (("--interactive", FAST), 0)],
)
@pytest.mark.usefixtures("keyboard")
def test_live_controlled_runs_are_paced_to_realtime(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], waits: int
) -> None:
    waited = []
    monkeypatch.setattr(RealtimePacer, "wait", lambda pace: waited.append(pace))
    assert run("--prompt", "a fox", "--frames", "20", *options, *tiny) == 0
    assert len(waited) == waits


def test_end_of_typed_input_does_not_end_stream(
    tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sana_stream.cli.keyboard.typed_lines", lambda: iter(()))
    assert run("--prompt", "a fox", "--interactive", FAST, "--frames", "20", *tiny) == 0
    assert len(pictures("a-fox.mp4")) == 20


def test_given_token_opens_page_and_is_not_stored(
    tiny: tuple[str, ...],
    during: dict[int, Callable[[], object]],
    capfd: pytest.CaptureFixture[str],
) -> None:
    answers = []

    def look() -> None:
        browser = Browser(capfd.readouterr().err)
        answers.extend(browser.ask(path)[0] for path in ("/status", "/status?token=open-sesame"))

    during[2] = look
    argv = ("--prompt", "a fox", "--web", "0", "--token", "open-sesame", FAST, "--frames", "25")
    assert run(*argv, "--out", "a.mp4", "--keep-checkpoint", *tiny) == 0
    assert answers == [401, 200]
    assert b"open-sesame" not in Path("a.ckpt").read_bytes()
