"""What a run shows on standard error: plain lines, or a display on a terminal."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sana_stream._text import safe_text
from sana_stream.engine.story.story import format_time
from sana_stream.engine.story.timeline import Placement
from sana_stream.streaming.outputs.base import redact_url
from sana_stream.streaming.outputs.targets import is_live
from sana_stream.streaming.run.messages import format_bytes, unknown_words_note

from .process import MESSAGE_LIMIT

if TYPE_CHECKING:
    from sana_stream.streaming.run.plan import RunPlan
    from sana_stream.streaming.run.progress import Progress


def rounded_clock(seconds: float) -> str:
    """A time to the second, as 1:05."""
    return format_time(round(seconds))


def speed(frames_per_second: float, fps: float) -> str:
    """A speed in frames per second and relative to real time."""
    return f"{frames_per_second:.1f} frames/s ({frames_per_second / fps:.2f}x real time)"


def headline(plan: RunPlan) -> str:
    """What is about to be made."""
    length, config = "endless", plan.config
    if plan.frames is not None:
        play, blocks = format_time(plan.seconds or 0.0), _count(plan.block_count or 1, "block")
        length = f"{_count(plan.frames, 'frame')} ({play}) in {blocks}"
    return (
        f"{config.model}, {plan.width}x{plan.height} at {float(plan.fps):g} frames/s, "
        f"{length}, seed {config.seed}"
    )


def progress_line(progress: Progress) -> str:
    """How far a run is, on one line."""
    total, remaining = progress.total_seconds, progress.remaining_seconds
    of_blocks = "" if progress.total_blocks is None else f"/{progress.total_blocks}"
    of_time = "" if total is None else f" of {rounded_clock(total)}"
    left = "" if remaining is None else f", {rounded_clock(remaining)} left"
    memory, peak = map(format_bytes, (progress.memory_bytes, progress.peak_memory_bytes))
    return (
        f"block {progress.blocks}{of_blocks}, {rounded_clock(progress.seconds)}{of_time}, "
        f"{speed(progress.recent_speed, progress.fps)}{left}, "
        f"memory {memory} (peak {peak}), drift {progress.drift:.1f}x"
    )


def closing_lines(progress: Progress, outputs: tuple[str, ...]) -> list[str]:
    """What was generated, where it is, how fast, and how to play it."""
    made = f"{_count(progress.frames, 'frame')}, {format_time(progress.seconds)} of video"
    took = f"{rounded_clock(progress.elapsed_seconds)}: {speed(progress.speed, progress.fps)}"
    lines = [f"{made} in {took}, peak memory {format_bytes(progress.peak_memory_bytes)}"]
    files = [output for output in outputs if not is_live(output)]
    lines += [f"the video is in {file}" for file in files]
    if files and (player := _player()):
        lines.append(f"play it: {player} {shlex.quote(files[0])}")
    return lines


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _player() -> str | None:
    if sys.platform == "win32":
        return "start"
    known = ["open"] if sys.platform == "darwin" else ["mpv", "ffplay", "vlc", "xdg-open"]
    return next((name for name in known if shutil.which(name)), None)


PLAN_ROWS = 30
UNKNOWN_ROWS = 10
_LINE_EVERY = 5.0  # seconds between progress lines where there is no terminal


class Reporter(Protocol):
    """Shows a run; its methods are called in the order of the run."""

    def plan(self, plan: RunPlan, outputs: tuple[str, ...]) -> None: ...

    def note(self, line: str) -> None: ...

    def running(self, progress: Progress) -> AbstractContextManager[None]: ...

    def block(self, progress: Progress) -> None: ...


class QuietReporter:
    """Shows nothing."""

    def plan(self, plan: RunPlan, outputs: tuple[str, ...]) -> None:
        pass

    def note(self, line: str) -> None:
        pass

    def running(self, progress: Progress) -> AbstractContextManager[None]:
        return nullcontext()

    def block(self, progress: Progress) -> None:
        pass


class PlainReporter:
    """Plain lines, for a log: a progress line every few seconds and one at the end.

    Args:
        console: takes the lines.
        prefix: begins each line.
    """

    def __init__(self, console: Console, prefix: str = "") -> None:
        self._console = console
        self._prefix = prefix
        self._said = 0.0

    def plan(self, plan: RunPlan, outputs: tuple[str, ...]) -> None:
        """Show what is about to be made, and from when each prompt is shown."""
        self.note(headline(plan))
        self.note(f"to {', '.join(map(redact_url, outputs))}")
        self._show(_plan_table(plan))
        prompts = dict.fromkeys(placement.cue.prompt for placement in plan.placements)
        unknown = [line for prompt in prompts if (line := unknown_words_note(prompt, plan))]
        for line in unknown[:UNKNOWN_ROWS]:
            self.note(line)
        if (more := len(unknown) - UNKNOWN_ROWS) > 0:
            self.note(f"{more} more prompts have words that are not known")

    def note(self, line: str) -> None:
        """Print one line, with control characters escaped."""
        self._show(Text(safe_text(self._prefix + line, MESSAGE_LIMIT)), soft_wrap=True)

    def running(self, progress: Progress) -> AbstractContextManager[None]:
        """A context in which blocks are generated."""
        self._said = time.monotonic()
        return nullcontext()

    def block(self, progress: Progress) -> None:
        """One more block is made."""
        if progress.complete or time.monotonic() - self._said >= _LINE_EVERY:
            self._said = time.monotonic()
            self._write_progress(progress)

    def failed(self, line: str, error: BaseException) -> None:
        """Print why the run failed."""
        self.note(line)

    def _write_progress(self, progress: Progress) -> None:
        self.note(progress_line(progress))

    def _show(self, shown: RenderableType, soft_wrap: bool = False) -> None:
        """Print; an error of the console does not end the run."""
        with contextlib.suppress(Exception):
            self._console.print(shown, highlight=False, soft_wrap=soft_wrap)


def _plan_table(plan: RunPlan) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for header in ("asked", "shown from", "prompt"):
        table.add_column(header, no_wrap=header != "prompt")
    for placement in plan.placements[:PLAN_ROWS]:
        table.add_row(*_plan_row(placement, plan))
    if (more := len(plan.placements) - PLAN_ROWS) > 0:
        table.add_row("...", "", f"and {more} more")
    return table


def _plan_row(placement: Placement, plan: RunPlan) -> tuple[str, str, Text]:
    asked = format_time(placement.cue.start_seconds or 0.0)
    prompt, image, blend = placement.cue.prompt, placement.cue.image, placement.cue.blend
    how = f" (picture {image})" if image is not None else ""
    how += f" (blended in over {_count(blend, 'block')})" if blend else ""
    shown_prompt = Text(safe_text(prompt + how, MESSAGE_LIMIT))
    if placement.frame is None or placement.block is None:
        return asked, "never: no block starts while it is due", shown_prompt
    shown = f"{format_time(plan.seconds_of(placement.frame))} (block {placement.block + 1})"
    return asked, shown, shown_prompt


class TerminalReporter(PlainReporter):
    """Shows prompt, bar and numbers on the last lines of a terminal, below the notes."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._progress: Progress | None = None
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=4, transient=True
        )

    def running(self, progress: Progress) -> AbstractContextManager[None]:
        """Show the display inside the context and remove it afterwards."""
        self._progress = progress
        return self._shown()

    @contextmanager
    def _shown(self) -> Iterator[None]:
        with contextlib.suppress(Exception):
            self._live.start()
        try:
            yield
        finally:
            with contextlib.suppress(Exception):
                self._live.stop()

    def block(self, progress: Progress) -> None:
        """Show the new numbers."""
        self._progress = progress

    def _render(self) -> RenderableType:
        progress = self._progress
        if progress is None:
            return Text()
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_row(
            ProgressBar(
                total=progress.total_frames,
                completed=progress.frames,
                pulse=progress.total_frames is None,
            )
        )
        prompt = Text(safe_text(progress.prompt), style="bold", overflow="ellipsis", no_wrap=True)
        numbers = progress_line(progress) if progress.blocks else "generating the first block"
        return Group(prompt, bar, Text(numbers))
