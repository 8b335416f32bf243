"""A stage with a stream on it, and a server that shows it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sana_stream.streaming.access import Access
from sana_stream.streaming.board import Board
from sana_stream.streaming.control import Control
from sana_stream.streaming.feed import LiveFeed
from sana_stream.streaming.stage import Stage
from sana_stream.streaming.web_server import WebServer

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
