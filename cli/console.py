"""The moving display of a run on a terminal."""

from __future__ import annotations

import contextlib
import errno
import re
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
from sana_stream.engine.story.story import Story, format_time
from sana_stream.engine.story.timeline import Placement
from sana_stream.streaming.outputs.base import redact_url

from .options import is_live
from .process import MESSAGE_LIMIT

if TYPE_CHECKING:
    from sana_stream.streaming.run.config import Request
    from sana_stream.streaming.run.progress import Progress

LONGEST_LINE = 1000  # characters
NO_MEMORY = (
    "there is not enough memory: end other programs, or ask for a smaller picture (--size), shorter"
    " blocks (--block-frames) or fewer frames decoded at once (--decode-frames 1)"
)
_NO_MEMORY = re.compile(
    r"can.?t allocate memory|cannot allocate memory|not enough memory|out of memory|bad_alloc", re.I
)


def one_line(error: BaseException) -> str:
    """The message of an error on one line, safe for a terminal and never empty."""
    return safe_text(_said(error), LONGEST_LINE) or "no reason is known"


def _said(error: BaseException) -> str:
    if is_out_of_memory(error):
        return NO_MEMORY
    if isinstance(error, OSError) and error.strerror and type(error).__str__ is OSError.__str__:
        reason = error.strerror.lower()
        return reason if error.filename is None else f"{safe_text(error.filename)}: {reason}"
    return str(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine had no memory left, whoever noticed it."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None


def megabytes(count: int) -> str:
    """Bytes in MiB, or in GiB from 10 GiB on."""
    mebi = count / (1 << 20)
    return f"{mebi:.0f} MiB" if mebi < 10240 else f"{mebi / 1024:.1f} GiB"


def rounded_clock(seconds: float) -> str:
    """A time to the second, as 1:05."""
    return format_time(round(seconds))


def speed(frames_per_second: float, fps: float) -> str:
    """A speed in frames per second and relative to real time."""
    return f"{frames_per_second:.1f} frames/s ({frames_per_second / fps:.2f}x real time)"


def headline(request: Request) -> str:
    """What is about to be made."""
    length = "endless"
    if request.frames is not None:
        play = format_time(request.seconds or 0.0)
        length = (
            f"{_count(request.frames, 'frame')} ({play}) in {_count(request.blocks or 1, 'block')}"
        )
    return (
        f"{request.model}, {request.width}x{request.height} at {float(request.fps):g} frames/s, "
        f"{length}, seed {request.seed}"
    )


def unknown_word_notes(prompt: str, request: Request) -> str | None:
    """What is to be said of a prompt of which the model knows no word, if it is one."""
    if request.vocabulary is None or not request.vocabulary.knows_no_word_of(prompt):
        return None
    return (
        f'of "{safe_text(prompt)}" no word is known to this model, it will show what it likes;'
        f" sana-stream info {shlex.quote(request.model)} lists what it knows"
    )


def story_notes(story: Story, request: Request) -> list[str]:
    """What is to be said of a story: what was left out or understood, what has no effect."""
    negative = any(cue.negative for cue in story.cues)
    if not negative or request.guidance != 1:
        return list(story.notes)
    told = "its negative prompts have no effect at guidance 1 and are left out: add --guidance 4"
    return [*story.notes, f"{story.name}: {told}"]


def progress_line(progress: Progress) -> str:
    """The progress of a run on one line."""
    of_blocks = "" if progress.blocks_total is None else f"/{progress.blocks_total}"
    of_time = (
        "" if progress.total is None else f" of {rounded_clock(progress.total / progress.fps)}"
    )
    left = "" if progress.left_seconds is None else f", {rounded_clock(progress.left_seconds)} left"
    return (
        f"block {progress.blocks}{of_blocks}, {rounded_clock(progress.made_seconds)}{of_time}, "
        f"{speed(progress.recent, progress.fps)}{left}, "
        f"memory {megabytes(progress.memory)} (peak {megabytes(progress.peak)}), "
        f"drift {progress.drift:.1f}x"
    )


def closing_lines(progress: Progress, outputs: tuple[str, ...]) -> list[str]:
    """What was generated, where it is, how fast, and how to play it."""
    made = f"{_count(progress.frames, 'frame')}, {format_time(progress.made_seconds)} of video"
    took = f"{rounded_clock(progress.spent)}: {speed(progress.speed, progress.fps)}"
    lines = [f"{made} in {took}, peak memory {megabytes(progress.peak)}"]
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
    """Told what happens, in the order of a run."""

    def plan(self, request: Request, outputs: tuple[str, ...]) -> None: ...

    def note(self, line: str) -> None: ...

    def running(self, progress: Progress) -> AbstractContextManager[None]: ...

    def switch(self, prompt: str, frame: int, seconds: float) -> None: ...

    def block(self, progress: Progress) -> None: ...


class QuietReporter:
    """Says nothing."""

    def plan(self, request: Request, outputs: tuple[str, ...]) -> None:
        pass

    def note(self, line: str) -> None:
        pass

    def running(self, progress: Progress) -> AbstractContextManager[None]:
        return nullcontext()

    def switch(self, prompt: str, frame: int, seconds: float) -> None:
        pass

    def block(self, progress: Progress) -> None:
        pass


class PlainReporter:
    """Plain lines, for a log: a progress line every few seconds and one at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said = 0.0

    def plan(self, request: Request, outputs: tuple[str, ...]) -> None:
        """The run, and where each prompt takes over."""
        self.note(headline(request))
        self.note(f"to {', '.join(map(redact_url, outputs))}")
        self._show(_plan_table(request))
        prompts = dict.fromkeys(placement.cue.prompt for placement in request.placements)
        unknown = [told for prompt in prompts if (told := unknown_word_notes(prompt, request))]
        for told in unknown[:UNKNOWN_ROWS]:
            self.note(told)
        if (more := len(unknown) - UNKNOWN_ROWS) > 0:
            self.note(f"of {more} more prompts no word is known")

    def note(self, line: str) -> None:
        """Print one line, with control characters escaped."""
        self._show(Text(safe_text(line, MESSAGE_LIMIT)), soft_wrap=True)

    def running(self, progress: Progress) -> AbstractContextManager[None]:
        """A context in which blocks are generated."""
        self._said = time.monotonic()
        return nullcontext()

    def switch(self, prompt: str, frame: int, seconds: float) -> None:
        """A prompt takes over at a frame."""
        self.note(f"from frame {frame} ({format_time(seconds)}): {prompt}")

    def block(self, progress: Progress) -> None:
        """One more block is made."""
        last = progress.total is not None and progress.frames >= progress.total
        if last or time.monotonic() - self._said >= _LINE_EVERY:
            self._said = time.monotonic()
            self.note(progress_line(progress))

    def _show(self, shown: RenderableType, soft_wrap: bool = False) -> None:
        """Print; an error of the console does not end the run."""
        with contextlib.suppress(Exception):
            self._console.print(shown, highlight=False, soft_wrap=soft_wrap)


def _plan_table(request: Request) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for header in ("asked", "shown from", "prompt"):
        table.add_column(header, no_wrap=header != "prompt")
    for placement in request.placements[:PLAN_ROWS]:
        table.add_row(*_plan_row(placement, request))
    if (more := len(request.placements) - PLAN_ROWS) > 0:
        table.add_row("...", "", f"and {more} more")
    return table


def _plan_row(placement: Placement, request: Request) -> tuple[str, str, Text]:
    asked = format_time(placement.cue.start_seconds or 0.0)
    prompt, image = placement.cue.prompt, placement.cue.image
    told = Text(
        safe_text(prompt if image is None else f"{prompt} (picture {image})", MESSAGE_LIMIT)
    )
    if placement.frame is None:
        return asked, "never: no block starts while it is due", told
    shown = f"{format_time(request.seconds_of(placement.frame))} (block {placement.block})"
    return asked, shown, told


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
                total=progress.total, completed=progress.frames, pulse=progress.total is None
            )
        )
        prompt = Text(safe_text(progress.prompt), style="bold", overflow="ellipsis", no_wrap=True)
        numbers = progress_line(progress) if progress.blocks else "generating the first block"
        return Group(prompt, bar, Text(numbers))
