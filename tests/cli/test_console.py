"""The display on a terminal, and the numbers it shows."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from rich.console import Console

from sana_stream.cli.console import TerminalReporter, closing_lines, progress_line
from sana_stream.engine.block import Block, BlockStats
from sana_stream.streaming.run.messages import format_bytes
from sana_stream.streaming.run.progress import Progress

MIB = 1 << 20


def block(frames: int, memory: int = 0, peak: int = 0) -> Block:
    stats = BlockStats(0, 0, 0, 0, memory, peak, 0, drift=1.26)
    pictures = np.zeros((frames, 2, 2, 3), np.uint8)
    return Block(0, 0, pictures, torch.empty(0), "a boat", stats)


def progress(total: int | None = 96) -> Progress:
    start = Progress(16.0, total, None if total is None else 6)
    first, second = block(17, 100 * MIB, 120 * MIB), block(16, 110 * MIB, 115 * MIB)
    return start.after(first, 2.0).after(second, 3.0)


def test_numbers_of_a_run() -> None:
    now = progress()
    assert (now.blocks, now.frames, now.elapsed_seconds) == (2, 33, 3.0)
    assert now.speed == 11
    assert now.recent_speed == 16  # of the second block: the first one warms up
    assert now.remaining_seconds == pytest.approx(63 / 16)
    assert now.peak_memory_bytes == 120 * MIB
    assert progress(None).remaining_seconds is None


def test_recent_speed_follows_a_change() -> None:
    now = progress(None)
    for _ in range(30):
        now = now.after(block(16), now.elapsed_seconds + 0.5)
    assert now.recent_speed == pytest.approx(32, rel=0.01)


def test_hours_in_which_a_run_is_suspended_change_the_outlook_little() -> None:
    now = progress()
    woken = now.after(block(16), now.elapsed_seconds + 3600)
    assert woken.remaining_seconds is not None
    assert now.remaining_seconds is not None
    assert woken.remaining_seconds < 1.3 * now.remaining_seconds
    assert woken.after(block(16), woken.elapsed_seconds + 1).recent_speed == pytest.approx(
        16, rel=0.2
    )


def test_the_progress_line() -> None:
    assert progress_line(progress()) == (
        "block 2/6, 0:02 of 0:06, 16.0 frames/s (1.00x real time), 0:04 left, "
        "memory 110 MiB (peak 120 MiB), drift 1.3x"
    )
    assert progress_line(progress(None)) == (
        "block 2, 0:02, 16.0 frames/s (1.00x real time), memory 110 MiB (peak 120 MiB), drift 1.3x"
    )


@pytest.mark.programs
def test_the_closing_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("shutil.which", lambda name: name if name == "vlc" else None)
    speed = "11.0 frames/s (0.69x real time)"
    assert closing_lines(progress(), ("rtmp://host/live/key", "my film.mp4", "-")) == [
        f"33 frames, 0:02.062 of video in 0:03: {speed}, peak memory 120 MiB",
        "the video is in my film.mp4",
        "play it: vlc 'my film.mp4'",
    ]


def test_large_memory_is_in_gib() -> None:
    assert format_bytes(20 * 1024 * MIB) == "20.0 GiB"


def test_the_display_shows_prompt_and_numbers_and_goes_away() -> None:
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=100, color_system=None)
    display = TerminalReporter(console)
    with display.running(Progress(16.0, 96, 6)):
        display._live.refresh()
        display.note("a note [bold]as it is")
        display.block(progress())
        assert "generating the first block" in terminal.getvalue()
        display._live.refresh()
        shown = terminal.getvalue()
        assert "a note [bold]as it is" in shown
        assert "a boat" in shown
        assert "block 2/6, 0:02 of 0:06" in shown
    left = terminal.getvalue()[len(shown) :]
    assert "\x1b[?25h" in left  # the cursor is back
    assert left.count("\x1b[2K") >= 3  # the three lines are wiped
