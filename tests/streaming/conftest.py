"""A current stream, and a server that shows it."""

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
def current() -> CurrentStream:
    current = CurrentStream()
    current.begin(LiveFeed(VIDEO), LiveControl(), RunStatus(VIDEO, "A day"))
    return current


@pytest.fixture
def server(current: CurrentStream) -> Iterator[WebServer]:
    with WebServer(current, AccessPolicy.on("127.0.0.1", 0)) as server:
        yield server
