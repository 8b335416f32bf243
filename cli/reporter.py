"""What a person sees of a run, all of it on standard error."""

from __future__ import annotations

import contextlib
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from sana_stream._text import safe_text

from ..engine.story import clock
from ..engine.timeline import Placement
from ..streaming.label import label
from .process import MESSAGE_LIMIT
from .progress import Progress
from .request import Request
from .words import headline, not_understood, progress_line

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


class Silent:
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


class Lines:
    """Plain lines, for a log: a progress line every few seconds and one at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said = 0.0

    def plan(self, request: Request, outputs: tuple[str, ...]) -> None:
        """The run, and where each prompt takes over."""
        self.note(headline(request))
        self.note(f"to {', '.join(map(label, outputs))}")
        self._show(_plan_table(request))
        prompts = dict.fromkeys(placement.cue.prompt for placement in request.placements)
        unknown = [told for prompt in prompts if (told := not_understood(prompt, request))]
        for told in unknown[:UNKNOWN_ROWS]:
            self.note(told)
        if (more := len(unknown) - UNKNOWN_ROWS) > 0:
            self.note(f"of {more} more prompts no word is known")

    def note(self, line: str) -> None:
        """One line as it is, but for what could control a terminal."""
        self._show(Text(safe_text(line, MESSAGE_LIMIT)), soft_wrap=True)

    def running(self, progress: Progress) -> AbstractContextManager[None]:
        """Blocks are being made while this is entered."""
        self._said = time.monotonic()
        return nullcontext()

    def switch(self, prompt: str, frame: int, seconds: float) -> None:
        """A prompt takes over at a frame."""
        self.note(f"from frame {frame} ({clock(seconds)}): {prompt}")

    def block(self, progress: Progress) -> None:
        """One more block is made."""
        last = progress.total is not None and progress.frames >= progress.total
        if last or time.monotonic() - self._said >= _LINE_EVERY:
            self._said = time.monotonic()
            self.note(progress_line(progress))

    def _show(self, shown: RenderableType, soft_wrap: bool = False) -> None:
        """Print, or not: whatever a console cannot draw is no reason to end a run."""
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
    asked = clock(placement.cue.start_seconds or 0.0)
    prompt, image = placement.cue.prompt, placement.cue.image
    told = Text(
        safe_text(prompt if image is None else f"{prompt} (picture {image})", MESSAGE_LIMIT)
    )
    if placement.frame is None:
        return asked, "never: no block starts in its time", told
    shown = f"{clock(request.seconds_of(placement.frame))} (block {placement.block})"
    return asked, shown, told
