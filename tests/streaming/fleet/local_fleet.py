"""A server of a fleet in this process, with its page, and replicas without Ray.

As a program it is `sana-stream` with such replicas.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from rich.console import Console

from sana_stream import Engine
from sana_stream.cli.commands.serve import ServeReporter
from sana_stream.cli.main import main
from sana_stream.streaming.fleet import gateway
from sana_stream.streaming.fleet.calls import ReplicaLost
from sana_stream.streaming.fleet.config import FleetConfig
from sana_stream.streaming.fleet.homes import HOMES
from sana_stream.streaming.fleet.replica import StreamBlocks
from sana_stream.streaming.fleet.server import FleetServer
from sana_stream.streaming.fleet.store import StreamStore
from sana_stream.streaming.run.config import RunConfig
from sana_stream.streaming.run.model import describe_files
from sana_stream.streaming.run.recordings import Recordings
from sana_stream.streaming.serving.server import ServerOptions
from sana_stream.streaming.web.live_feed import LiveFeed

PATIENCE = 20.0  # seconds


class KeptFeed(LiveFeed):
    """A feed that keeps all that a viewer gets."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.sent = self.init

    def write(self, block: Any) -> None:
        super().write(block)
        self.sent += self.segments()[-1].data


class LocalReplicas:
    """Two replicas of this process, in place of Ray's; `on_call` may raise in place of a call."""

    def __init__(self, engine: Engine, fleet: FleetConfig) -> None:
        self._engine, self._fleet = engine, fleet
        self.replicas: dict[str, StreamBlocks] = {}
        self.all: list[StreamBlocks] = []  # lost ones too
        self.on_call: Callable[[str, tuple[Any, ...]], None] = lambda method, arguments: None
        for name in ("a", "b"):
            self.start(name)

    def start(self, name: str) -> None:
        """Start a replica, in place of one of this name."""
        store = StreamStore(self._fleet.store)
        self.replicas[name] = StreamBlocks(self._engine, store, name, self._fleet.every)
        self.all.append(self.replicas[name])
        HOMES.update(self.replicas)

    def lose(self) -> None:
        """Lose all that the replicas have in memory, and the call that asks for it."""
        for name in list(self.replicas):
            self.start(name)
        raise ReplicaLost("killed")

    def call(self, method: str, stream: str, arguments: tuple[Any, ...], limit: float) -> Any:
        """As `Transport.call`."""
        self.on_call(method, arguments)
        home = HOMES.choose(stream)
        if home is None:
            raise ReplicaLost("none is running")
        if method == "drain":
            return self.replicas[home].save_all()
        return getattr(self.replicas[home], method)(stream, *arguments)


class Served:
    """A server in a thread, and a client of its page."""

    def __init__(self, server: FleetServer, stop: Event, thread: Thread) -> None:
        self.server, self.stop = server, stop
        self._thread = thread

    @property
    def port(self) -> int:
        return self.server._page._server.access.port

    def ask(
        self, method: str, path: str, body: object = None
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        result = answer.status, answer.read(), answer.headers
        connection.close()
        return result

    def json(self, path: str) -> Any:
        return json.loads(self.ask("GET", path)[1])

    def states(self) -> list[str]:
        return [job["state"] for job in self.json("/streams")]

    def await_that(self, what: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < until, "it did not come"
            time.sleep(0.02)

    def end(self) -> None:
        """End the server as a signal does."""
        self.stop.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@contextmanager
def serving(
    config: RunConfig, fleet: FleetConfig, films: Path, replicas: Any, streams: int = 1
) -> Iterator[Served]:
    """A server whose fleet starts `replicas`, which `gateway.deployed` has to return."""
    stop, console = Event(), Console(stderr=True)
    recordings = Recordings(films, True, None)
    recordings.check()
    options, reporter = ServerOptions(streams), ServeReporter(console, streams)
    server = FleetServer(config, reporter, recordings, stop, options, fleet)
    with server.page():
        server.load()
        thread = Thread(target=server.serve, daemon=True)
        thread.start()
        served = Served(server, stop, thread)
        try:
            yield served
        finally:
            served.end()
            recordings.close()
            for replica in replicas.all:
                replica.close()


@contextmanager
def deployed(fleet: FleetConfig, config: RunConfig) -> Iterator[LocalReplicas]:
    """Replicas of this process, in place of `cluster.deployed`."""
    yield LocalReplicas(describe_files(config).load(config), fleet)


if __name__ == "__main__":
    gateway.deployed = deployed  # type: ignore[assignment]
    sys.exit(main(sys.argv[1:]))
