"""What reaches a run from outside while it goes on, and what it shows of itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Self

from sana_stream.cli.console import Reporter, one_line
from sana_stream.cli.options import Options
from sana_stream.engine.story.read import read_story
from sana_stream.engine.story.story import Story
from sana_stream.errors import ConfigError
from sana_stream.streaming.control.live_control import (
    COMMANDS,
    LiveControl,
    WatchedFile,
    read_lines,
)
from sana_stream.streaming.video_format import VideoFormat
from sana_stream.streaming.web.auth import AccessPolicy, Role
from sana_stream.streaming.web.live_feed import LiveFeed
from sana_stream.streaming.web.server import WebServer
from sana_stream.streaming.web.status import ActiveStream, CurrentStream, RunStatus

from .config import Request
from .outputs import recording, title

if TYPE_CHECKING:
    from sana_stream.streaming.control.job_queue import JobQueue


LINE_BYTES = 64 << 10  # far more than the 4000 characters that a prompt may have


def typed_lines(descriptor: int = 0) -> Iterator[str]:
    """The lines of standard input as they come; what is not UTF-8 is replaced.

    They end with the input, and where it cannot be read any more (a terminal that has gone). Of a
    longer line than anybody types only the beginning is kept.

    They are read past `sys.stdin`: a thread that waits inside its buffer at the end of a program
    would keep the interpreter from ending.
    """
    with contextlib.suppress(OSError), FileIO(descriptor, closefd=False) as file:
        while line := file.readline(LINE_BYTES):
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = file.readline(LINE_BYTES)
            yield line.decode(errors="replace")


class WatchedStory:
    """Asked once a block; `plan` fits a story into the video, `report` hears what became of it."""

    def __init__(
        self, path: str, plan: Callable[[Story], Request], report: Callable[[str], None]
    ) -> None:
        self._path = path
        self._file = WatchedFile(Path(path))
        self._plan = plan
        self._report = report

    def changed(self) -> Request | None:
        """The run with the new story; None without one, or with one that cannot be used."""
        if not self._file.changed():
            return None
        try:
            request = self._plan(read_story(self._path))
        except ConfigError as error:
            self._report(f"{one_line(error)}; the story stays as it was")
            return None
        self._report(f"{self._path} has changed and was read again")
        return request


class LivePage:
    """Serves the page while it is entered; shows one stream after another.

    A given `token` is needed on any address; else one is made where the page can be reached from
    other machines. `report` is told the addresses. Raises `InvalidOutputError` for an address that
    cannot be used.
    """

    def __init__(
        self,
        host: str,
        port: int,
        token: str | None,
        report: Callable[[str], None],
        jobs: JobQueue | None = None,
    ) -> None:
        access = AccessPolicy.on(host, port)
        if token is not None:
            access = replace(access, control_token=token)
        self._stage = CurrentStream()
        self._server = WebServer(self._stage, access, jobs)
        access = self._server.access
        report(f"the page is at {access.url()}")
        if access.view_token is not None:
            report(f"to look on only: {access.url(Role.VIEW)}")

    def begin(
        self, request: Request, title: str, control: LiveControl, recording: Path | None
    ) -> ActiveStream:
        """Show the stream that is about to be made; `recording` can be downloaded."""
        video = VideoFormat(request.width, request.height, request.fps)
        board = RunStatus(video, title, request.seed, request.frames, request.shown_prompts())
        return self._stage.begin(LiveFeed(video), control, board, recording)

    def set_notice(self, notice: str) -> None:
        """Tell those who watch the stream of now something."""
        if self._stage.stream is not None:
            self._stage.stream.status.set_notice(notice)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()


@dataclass(frozen=True, slots=True)
class LiveSession:
    """The mailbox of a run, the story that may change, the page that shows the stream."""

    control: LiveControl
    watched: WatchedStory | None = None
    stream: ActiveStream | None = None

    @property
    def feed(self) -> LiveFeed | None:
        """The output that the page shows."""
        return None if self.stream is None else self.stream.feed

    @property
    def status(self) -> RunStatus | None:
        """What the page says of the run."""
        return None if self.stream is None else self.stream.status


@contextmanager
def open_live(
    options: Options,
    request: Request,
    plan: Callable[[Story], Request],
    reporter: Reporter,
    stop: Event,
) -> Iterator[LiveSession | None]:
    """Everything that may direct the run, while this is entered; None when nothing may.

    `plan` fits a story that has changed into the video. Raises `InvalidOutputError` for a page that
    cannot be served.
    """
    if not options.live:
        yield None
        return
    control, show, watched = LiveControl(stop), None, None
    with ExitStack() as opened:
        if options.web is not None:
            page = LivePage(options.host, options.web, options.token, reporter.note)
            opened.enter_context(page)
            show = page.begin(request, title(options), control, recording(options))
        if options.watch and options.prompt_file is not None:
            watched = WatchedStory(options.prompt_file, plan, reporter.note)
        if options.interactive:
            reporter.note(f"type a prompt, or one of: {', '.join(COMMANDS)}")
            read_lines(typed_lines(), control)
        yield LiveSession(control, watched, show)
        if show is not None:
            show.status.finish()
