"""What reaches a run from outside while it goes on, and what it shows of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Event

from ..engine.story import Story
from ..streaming.board import Board
from ..streaming.control import COMMANDS, Control
from ..streaming.feed import LiveFeed
from ..streaming.sources import read_lines
from ..streaming.stage import Show
from .options import Options
from .outputs import recording, title
from .page import Page
from .reporter import Reporter
from .request import Request
from .typed import typed_lines
from .watched import WatchedStory


@dataclass(frozen=True, slots=True)
class Live:
    """The mailbox of a run, the story that may change, the page that shows the stream."""

    control: Control
    watched: WatchedStory | None = None
    show: Show | None = None

    @property
    def feed(self) -> LiveFeed | None:
        """The output that the page shows."""
        return None if self.show is None else self.show.feed

    @property
    def board(self) -> Board | None:
        """What the page says of the run."""
        return None if self.show is None else self.show.board


@contextmanager
def open_live(
    options: Options,
    request: Request,
    plan: Callable[[Story], Request],
    reporter: Reporter,
    stop: Event,
) -> Iterator[Live | None]:
    """Everything that may direct the run, while this is entered; None when nothing may.

    `plan` fits a story that has changed into the video. Raises `TargetError` for a page that
    cannot be served.
    """
    if not options.live:
        yield None
        return
    control, show, watched = Control(stop), None, None
    with ExitStack() as opened:
        if options.web is not None:
            page = Page(options.host, options.web, options.token, reporter.note)
            opened.enter_context(page)
            show = page.begin(request, title(options), control, recording(options))
        if options.watch and options.prompt_file is not None:
            watched = WatchedStory(options.prompt_file, plan, reporter.note)
        if options.interactive:
            reporter.note(f"type a prompt, or one of: {', '.join(COMMANDS)}")
            read_lines(typed_lines(), control, reporter.note)
        yield Live(control, watched, show)
        if show is not None:
            show.board.finish()
