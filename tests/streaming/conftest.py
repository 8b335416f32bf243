"""Streams, servers that show or make them, and folders of recordings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.run.recordings import Recordings
from sana_stream.streaming.web.auth import AccessPolicy
from sana_stream.streaming.web.live_feed import LiveFeed
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.server import WebServer
from sana_stream.streaming.web.status import RunStatus

from .http_client import VIDEO
from .serving.local_server import LocalServer, serving


@pytest.fixture
def current() -> StreamRegistry:
    current = StreamRegistry()
    current.begin(LiveFeed(VIDEO), LiveControl(), RunStatus(VIDEO, "A day"))
    return current


@pytest.fixture
def server(current: StreamRegistry) -> Iterator[WebServer]:
    with WebServer(current, AccessPolicy.on("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture(scope="module")
def served_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which `served` records."""
    return tmp_path_factory.mktemp("films")


@pytest.fixture(scope="module")
def served(served_folder: Path, tiny_folder: Path) -> Iterator[LocalServer]:
    """A server of the tiny model for all tests of a file."""
    with serving(served_folder, tiny_folder) as server:
        yield server


@pytest.fixture
def recordings(tmp_path: Path) -> Iterator[Recordings]:
    found = Recordings(tmp_path, True, None)
    found.check()
    yield found
    found.close()
