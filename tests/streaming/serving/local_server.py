"""A server of this process with the tiny model, and a client of it."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from rich.console import Console

from sana_stream.cli.commands.serve import ServeReporter
from sana_stream.streaming.run.config import RunConfig
from sana_stream.streaming.run.recordings import Recordings
from sana_stream.streaming.serving.job_files import JobFiles
from sana_stream.streaming.serving.server import ServerOptions, StreamServer

PATIENCE = 60.0


class LocalServer:
    """A client of a server that runs in a thread."""

    def __init__(self, server: StreamServer) -> None:
        self.server = server

    @property
    def port(self) -> int:
        return self.server._page._server.access.port

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        """A request, with JSON unless the body is bytes."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(
                method, path, raw, {"Content-Type": "application/json"} | (headers or {})
            )
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers

    def json(self, path: str) -> Any:
        return json.loads(self.ask("GET", path)[1])

    def submit(self, **fields: object) -> int:
        status, body, _ = self.ask("POST", "/streams", fields)
        assert status == 201, body
        return json.loads(body)["id"]

    def state(self, stream_id: int) -> str:
        return self.json(f"/streams/{stream_id}")["state"]

    def await_that(self, what: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < until, "it did not come"
            time.sleep(0.02)


@contextmanager
def serving(
    folder: Path,
    model: Path,
    *,
    keep: bool = True,
    streams: int = 1,
    resume: bool = True,
    **config: Any,
) -> Iterator[LocalServer]:
    """A server that records in a folder.

    Args:
        folder: of the recordings.
        model: its folder.
        keep: whether recordings and jobs stay, as with `--record`.
        streams: how many run at the same time.
        resume: whether the streams of an earlier server are resumed.
        config: further parameters of the runs.
    """
    stop, recordings = Event(), Recordings(folder, keep, None)
    recordings.check()
    common = {"checkpoint": True, "keep_checkpoint": True, "web": 0, "dtype": "float32"}
    runs = RunConfig(["-"], model=model, **(common | config))
    server = StreamServer(
        runs,
        ServeReporter(Console(quiet=True), streams),
        recordings,
        stop,
        ServerOptions(streams, overcommit=True, resume=resume),
        JobFiles(folder) if keep else None,
    )
    with closing(recordings), server.page():
        server.load()
        thread = Thread(target=server.serve, daemon=True)
        thread.start()
        try:
            yield LocalServer(server)
        finally:
            stop.set()
            thread.join(PATIENCE)
            assert not thread.is_alive()
