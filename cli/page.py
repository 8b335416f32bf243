"""The page on which streams are watched and directed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ..streaming.access import Access, Role
from ..streaming.board import Board
from ..streaming.control import Control
from ..streaming.feed import LiveFeed
from ..streaming.format import VideoFormat
from ..streaming.stage import Show, Stage
from ..streaming.web_server import WebServer
from .request import Request

if TYPE_CHECKING:
    from ..streaming.programme import Programme


class Page:
    """Serves the page while it is entered; shows one stream after another.

    A given `token` is needed on any address; else one is made where the page can be reached from
    other machines. `report` is told the addresses. Raises `TargetError` for an address that
    cannot be used.
    """

    def __init__(
        self,
        host: str,
        port: int,
        token: str | None,
        report: Callable[[str], None],
        programme: Programme | None = None,
    ) -> None:
        access = Access.on(host, port)
        if token is not None:
            access = replace(access, direct=token)
        self._stage = Stage()
        self._server = WebServer(self._stage, access, programme)
        access = self._server.access
        report(f"the page is at {access.url()}")
        if access.watch is not None:
            report(f"to look on only: {access.url(Role.WATCH)}")

    def begin(self, request: Request, title: str, control: Control, recording: Path | None) -> Show:
        """Show the stream that is about to be made; `recording` can be downloaded."""
        video = VideoFormat(request.width, request.height, request.fps)
        board = Board(video, title, request.seed, request.frames, request.board_cues())
        return self._stage.begin(LiveFeed(video), control, board, recording)

    def tell(self, notice: str) -> None:
        """Tell those who watch the stream of now something."""
        if self._stage.show is not None:
            self._stage.show.board.tell(notice)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
