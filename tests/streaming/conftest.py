"""A stage with a stream on it, and a server that shows it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.web.auth import AccessPolicy
from sana_stream.streaming.web.live_feed import LiveFeed
from sana_stream.streaming.web.server import WebServer
from sana_stream.streaming.web.status import CurrentStream, RunStatus

from .http_client import VIDEO


@pytest.fixture
def stage() -> CurrentStream:
    stage = CurrentStream()
    stage.begin(LiveFeed(VIDEO), LiveControl(), RunStatus(VIDEO, "A day"))
    return stage


@pytest.fixture
def server(stage: CurrentStream) -> Iterator[WebServer]:
    with WebServer(stage, AccessPolicy.on("127.0.0.1", 0)) as server:
        yield server
