"""A stage with a stream on it, and a server that shows it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sana_stream.streaming.control.live_control import Control
from sana_stream.streaming.web.auth import Access
from sana_stream.streaming.web.live_feed import LiveFeed
from sana_stream.streaming.web.server import WebServer
from sana_stream.streaming.web.status import Board, Stage

from .asking import VIDEO


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.begin(LiveFeed(VIDEO), Control(), Board(VIDEO, "A day"))
    return stage


@pytest.fixture
def server(stage: Stage) -> Iterator[WebServer]:
    with WebServer(stage, Access.on("127.0.0.1", 0)) as server:
        yield server
