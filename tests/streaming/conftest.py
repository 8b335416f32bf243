"""A current stream, and a server that shows it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.web.auth import AccessPolicy
from sana_stream.streaming.web.live_feed import LiveFeed
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.server import WebServer
from sana_stream.streaming.web.status import RunStatus

from .http_client import VIDEO


@pytest.fixture
def current() -> StreamRegistry:
    current = StreamRegistry()
    current.begin(LiveFeed(VIDEO), LiveControl(), RunStatus(VIDEO, "A day"))
    return current


@pytest.fixture
def server(current: StreamRegistry) -> Iterator[WebServer]:
    with WebServer(current, AccessPolicy.on("127.0.0.1", 0)) as server:
        yield server
