"""The moving display of a run on a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sana_stream._text import safe_text

from .progress import Progress
from .reporter import Lines
from .words import progress_line


class LiveDisplay(Lines):
    """Keeps prompt, bar and numbers at the foot of the terminal; notes scroll by above."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._progress: Progress | None = None
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=4, transient=True
        )

    def running(self, progress: Progress) -> AbstractContextManager[None]:
        """Show the display while this is entered, and leave nothing of it behind."""
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
        numbers = progress_line(progress) if progress.blocks else "the first block is being made"
        return Group(prompt, bar, Text(numbers))
