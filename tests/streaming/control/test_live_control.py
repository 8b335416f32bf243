"""Control of a stream: commands, where their lines come from, the status, the pace."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sana_stream.cli.keyboard import typed_lines
from sana_stream.errors import CommandError
from sana_stream.streaming.control.live_control import (
    BRANCH_LIMIT,
    LiveControl,
    PendingChanges,
    WatchedFile,
    read_lines,
)
from sana_stream.streaming.control.pacing import LEAD_SECONDS, RealtimePacer
from sana_stream.streaming.video_format import VideoFormat
from sana_stream.streaming.web.status import RunStatus, ShownPrompt

from ..blocks import blocks, make_block
from ..http_client import TIMEOUT_SECONDS

VIDEO = VideoFormat(96, 64, 16)


def test_last_of_several_prompts_is_taken_once() -> None:
    control = LiveControl()
    for line in ("a red fox", "", "   ", "a  blue\tfox ", "/seed 5", "/negative blurred, grey"):
        control.submit(line)
    assert control.waiting_prompt == "a blue fox"
    assert control.drain() == PendingChanges("a blue fox", "blurred, grey", 5)
    control.submit("/back 2.5")
    control.submit("/branch dusk-2")
    assert control.drain() == PendingChanges(back=2.5, branch="dusk-2")
    assert control.drain() == PendingChanges()


def test_terminal_control_characters_are_removed() -> None:
    control = LiveControl()
    control.prompt("night\x1b[2J falls\x00\x9b31m \ud800über the sea")
    assert control.drain().prompt == "night [2J falls 31m über the sea"


def test_prompts_are_blended_in_and_held_at_weights() -> None:
    control = LiveControl()
    control.submit("~4 a boat :0.7 | a fox :0.3 --neg rain")
    assert control.waiting_prompt == "a boat :0.7 | a fox :0.3 --neg rain"
    assert control.drain() == PendingChanges("a boat :0.7 | a fox :0.3 --neg rain", blend=4)
    assert control.prompt("\\~4 dollars") == "~4 dollars"
    assert control.drain() == PendingChanges("~4 dollars")
    control.prompt("night", 2)
    control.prompt("day")
    assert control.drain() == PendingChanges("day")


@pytest.mark.parametrize(
    ("text", "blocks", "message"),
    [
        ("~4", None, "~4 has no prompt after it: write ~4 night falls"),
        ("~4s night", None, "does not begin with a number of blocks"),
        ("~4 night", 4, "leave one of them out"),
        ("night", 1001, "from 0 to 1000"),
        ("night", True, "give a whole number"),
        ("a :0.2 | b :0.2", 1, "add up to 0.4, not to 1"),
    ],
)
def test_wrong_blends_are_refused(text: str, blocks: int | None, message: str) -> None:
    control = LiveControl()
    with pytest.raises(CommandError, match=message):
        control.prompt(text, blocks)
    assert control.drain() == PendingChanges()


def test_empty_negative_prompt_removes_it() -> None:
    control = LiveControl()
    control.submit("/negative")
    assert control.drain() == PendingChanges(negative="")


SEED, BACK, BRANCH = "takes a whole number", "takes seconds", "takes a name of letters"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        *((line, "commands are /pause, /resume, /stop, /seed N") for line in ("/jump", "/")),
        ("/pause now", "commands are /pause"),
        *((line, SEED) for line in ("/seed", "/seed x", "/seed -1")),
        *((line, BACK) for line in ("/back", "/back far", "/back -1")),
        *((line, BRANCH) for line in ("/branch", "/branch ../dusk", "/branch two words")),
    ],
)
def test_unknown_command_is_refused_with_the_known_ones(line: str, message: str) -> None:
    control = LiveControl()
    with pytest.raises(CommandError, match=f"'{line}': {message}"):
        control.submit(line)
    assert control.drain() == PendingChanges()
    assert not control.paused


def test_too_long_prompt_is_refused() -> None:
    with pytest.raises(CommandError, match="4001 characters: a prompt has at most 4000"):
        LiveControl().submit("x" * 4001)


@pytest.mark.parametrize("line", ["/resume", "/stop"])
def test_paused_stream_resumes(line: str) -> None:
    control = LiveControl()
    control.submit("/pause")
    went_on = threading.Event()

    def run() -> None:
        control.wait_while_paused()
        went_on.set()

    threading.Thread(target=run, daemon=True).start()
    assert not went_on.wait(0.1)
    control.submit(line)
    assert went_on.wait(TIMEOUT_SECONDS)
    assert control.stop.is_set() == (line == "/stop")


def test_lines_are_applied_in_order(caplog: pytest.LogCaptureFixture) -> None:
    read, write = os.pipe()
    control = LiveControl()
    with (
        os.fdopen(read, encoding="utf-8") as lines,
        os.fdopen(write, "w", encoding="utf-8") as typed,
    ):
        thread = read_lines(lines, control)
        typed.write("night falls\n/unknown\n")
        typed.close()
        thread.join(TIMEOUT_SECONDS)
    assert control.drain().prompt == "night falls"
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("'/unknown': commands are")
    assert not control.stop.is_set(), "the end of the lines is not the end of the stream"


def test_error_of_the_line_source_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def lines() -> Iterator[str]:
        yield "night falls"
        raise OSError(5, "Input/output error")

    control = LiveControl()
    read_lines(lines(), control).join(TIMEOUT_SECONDS)
    assert control.drain().prompt == "night falls"
    assert caplog.messages == [
        "no more lines can be read: input/output error; the stream continues"
    ]


def test_endless_line_is_not_kept_in_memory() -> None:
    read, write = os.pipe()
    typed = b"x" * 200_000 + b"\nnight falls\n" + b"y" * 70_000
    thread = threading.Thread(target=lambda: _write(write, typed), daemon=True)
    thread.start()
    lines = list(typed_lines(read))
    os.close(read)
    assert [len(line) for line in lines] == [1 << 16, len("night falls\n"), 1 << 16]


def _write(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


@pytest.mark.parametrize("name", ["dusk", "a.b", "Dusk_2-x", "x" * 100, "console", "com10"])
def test_plain_moment_names_are_accepted(name: str) -> None:
    control = LiveControl()
    control.submit(f"/branch {name}")
    assert control.drain().branch == name


@pytest.mark.parametrize(
    "name",
    [
        *(".a", "-a", "a.", "a/b", "a\\b", "..", "con", "CON.x", "nul", "com1", "LPT9.txt"),
        *("x" * 101, "é", "a\x00b", "a\u202eb", "a:b", "a%db", "~", "a\nb", "*"),
    ],
)
def test_other_moment_names_are_refused(name: str) -> None:
    control = LiveControl()
    with pytest.raises(CommandError, match="takes a name of letters") as error:
        control.submit(f"/branch {name}")
    assert str(error.value).isprintable()
    assert control.drain() == PendingChanges()


def test_remote_clients_keep_a_bounded_number_of_moments() -> None:
    control = LiveControl()
    for _ in range(BRANCH_LIMIT):
        control.submit("/branch dusk", remote=True)
    with pytest.raises(CommandError, match="remote clients may save 20 moments"):
        control.submit("/branch dusk", remote=True)
    control.submit("/branch dawn")
    assert control.drain().branch == "dawn"


def test_watched_file_reports_each_change_once(tmp_path: Path) -> None:
    path = tmp_path / "story.txt"
    path.write_text("one")
    watched = WatchedFile(path)
    assert not watched.changed()
    path.write_text("another")
    assert watched.changed()
    assert not watched.changed()
    path.unlink()
    assert not watched.changed(), "an editor may take it away for a moment"
    other = tmp_path / "new"
    other.write_text("another")
    other.rename(path)
    assert watched.changed()


def test_status_lists_shown_and_coming_prompts() -> None:
    story = (
        ShownPrompt(0, "dawn"),
        ShownPrompt(17, "noon"),
        ShownPrompt(48, "dusk"),
        ShownPrompt(49, "night"),
    )
    run_status = RunStatus(VIDEO, "A day", 3, 80, story)
    assert run_status.snapshot().state == "starting"
    for block in blocks(3, prompts=("dawn", "noon", "noon")):
        run_status.on_block(block)
    now = run_status.snapshot()
    assert (now.state, now.blocks, now.seed) == ("running", 3, 3)
    assert now.shown == (ShownPrompt(0, "dawn"), ShownPrompt(17, "noon"))
    assert now.coming == (ShownPrompt(49, "night"),)
    assert (now.seconds, now.total_seconds) == (49 / 16, 5.0)
    assert now.speed == pytest.approx(49 / 16 / 0.6), "each block took 0.2 s"
    # The next block has the prompt of the last one: that is not a prompt to come.
    run_status.plan((ShownPrompt(0, "dawn"), ShownPrompt(49, "noon"), ShownPrompt(60, "storm")))
    run_status.finish()
    assert run_status.snapshot().coming == (ShownPrompt(60, "storm"),)
    assert run_status.snapshot().state == "finished"


def test_status_is_bounded() -> None:
    run_status = RunStatus(VIDEO)
    block = make_block(0, 0, 1)
    for number in range(1200):
        run_status.on_block(replace(block, start=number, prompt=f"prompt {number}"))
    shown = run_status.snapshot().shown
    assert len(shown) == 500
    assert shown[-1] == ShownPrompt(1199, "prompt 1199")


def test_next_block_starts_when_buffer_equals_its_duration() -> None:
    now = [100.0]
    pace = RealtimePacer(VIDEO, threading.Event(), lambda: now[0])
    assert pace.delay() == 0
    pace.on_block(32, 0.5)  # two seconds of video
    assert pace.delay() == pytest.approx(2 - 0.5 - LEAD_SECONDS)
    now[0] += pace.delay()
    assert pace.delay() == pytest.approx(0)
    now[0] += 0.5
    pace.on_block(32, 0.5)
    assert pace.delay() == pytest.approx(2 + LEAD_SECONDS - 0.5 - LEAD_SECONDS)


def test_slow_stream_neither_waits_nor_catches_up() -> None:
    now = [0.0]
    pace = RealtimePacer(VIDEO, threading.Event(), lambda: now[0])
    for _ in range(5):
        now[0] += 3
        pace.on_block(32, 3.0)
        assert pace.delay() == 0
    now[0] += 0.1
    pace.on_block(32, 0.1)
    assert pace.delay() == pytest.approx(2 + 2 - 0.1 - 0.1 - LEAD_SECONDS)
