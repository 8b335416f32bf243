"""A server that makes the streams of sessions without a model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sana_stream.streaming.control.job_queue import JobQueue
from sana_stream.streaming.web.auth import AccessPolicy
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.server import WebServer

from .maker import Client, Maker, client


@pytest.fixture
def streams() -> StreamRegistry:
    return StreamRegistry()


@pytest.fixture
def jobs() -> JobQueue:
    return JobQueue()


@pytest.fixture
def server(streams: StreamRegistry, jobs: JobQueue) -> Iterator[WebServer]:
    with WebServer(streams, AccessPolicy.on("127.0.0.1", 0), jobs) as server:
        yield server


@pytest.fixture
def maker(jobs: JobQueue, streams: StreamRegistry) -> Iterator[Maker]:
    maker = Maker(jobs, streams)
    yield maker
    maker.close()


@pytest.fixture
def viewer(server: WebServer) -> Iterator[Client]:
    with client(server.access.port) as viewer:
        yield viewer
