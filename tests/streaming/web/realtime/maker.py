"""A server whose streams are made without a model, as far as the test allows, and its clients."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event, Semaphore, Thread
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from sana_stream.streaming.control.job_queue import JobQueue, StreamJob
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.web.live_feed import LiveFeed
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.status import RunStatus

from ...blocks import FPS, blocks
from ...http_client import TIMEOUT_SECONDS, VIDEO

START = {"kind": "session.start", "prompt": "a red boat"}


class Maker:
    """Makes the jobs of a queue, each in a thread of its own.

    Args:
        jobs: the queue.
        current: shows the streams.
        threads: how many streams run at the same time.

    Attributes:
        allowed: a block is made for each of its permits.
        prepare: called with the feed of each stream that begins.
    """

    def __init__(self, jobs: JobQueue, current: StreamRegistry, threads: int = 1) -> None:
        self.allowed: dict[int, Semaphore] = {}
        self.prepare: Callable[[LiveFeed], object] = lambda _: None
        self._jobs, self._current = jobs, current
        self._stop = Event()
        self._threads = [Thread(target=self._run, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def allow(self, stream: int, count: int = 1) -> None:
        """Let a stream make more blocks."""
        self.allowed.setdefault(stream, Semaphore(0)).release(count)

    def close(self) -> None:
        self._stop.set()
        self._jobs.interrupt()
        for thread in self._threads:
            thread.join(TIMEOUT_SECONDS)

    def _run(self) -> None:
        while (found := self._jobs.next(self._stop)) is not None:
            job, control = found
            failure = ""
            try:
                self._make(job, control)
            except ValueError as error:
                failure = str(error)
            self._jobs.end(job, failure)

    def _make(self, job: StreamJob, control: LiveControl) -> None:
        request = job.request
        frames = None if request.seconds is None else round(request.seconds * FPS)
        feed, status = LiveFeed(VIDEO), RunStatus(VIDEO, request.title, request.seed, frames)
        self.prepare(feed)
        self._current.begin(feed, control, status, None, job.id)
        allowed = self.allowed.setdefault(job.id, Semaphore(0))
        try:
            for block in blocks():
                while not control.stop.is_set() and not allowed.acquire(timeout=0.01):
                    pass
                if control.stop.is_set() or (frames is not None and block.start >= frames):
                    return
                changes = control.drain(block.start)
                prompt = changes.prompt or block.prompt
                if prompt == "fail":
                    raise ValueError("no memory is left")
                control.events.begin_block(
                    *(block.start, prompt, changes.blend > 0),
                    *(changes.event, changes.superseded),
                )
                end = None if frames is None else frames - block.start
                block = replace(block, frames=block.frames[:end], prompt=prompt)
                feed.write(block)
                status.on_block(block)
        finally:
            feed.close()
            status.finish()


class Client:
    """A client of a session."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.video = b""

    def send(self, kind: str, **fields: object) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def begin(self, **fields: object) -> None:
        """Send the first message."""
        self.send(**{**START, **fields})

    def prompt(self, text: object, event_id: str | None = None, chunks: object = None) -> None:
        """Send an interaction."""
        fields = {"event_id": event_id, "transition_chunks": chunks}
        given = {name: value for name, value in fields.items() if value is not None}
        self.send("session.interaction", interaction={"event": {"prompt": text}, **given})

    def message(self) -> dict[str, Any]:
        """The next message, with the chunk that belongs to it."""
        message = json.loads(self.socket.recv(TIMEOUT_SECONDS))
        if message["type"] == "video.chunk_metadata":
            data = self.socket.recv(TIMEOUT_SECONDS)
            assert isinstance(data, bytes)
            assert len(data) == message["byte_length"]
            self.video += data
        return message

    def until(self, kind: str) -> dict[str, Any]:
        """Take messages up to one of this type."""
        while (message := self.message())["type"] != kind:
            pass
        return message

    def closed(self) -> int:
        """Wait for the connection to close, and return the code."""
        try:
            while True:
                self.socket.recv(TIMEOUT_SECONDS)
        except ConnectionClosed as end:
            return 1006 if end.rcvd is None else end.rcvd.code


@contextmanager
def client(port: int, path: str = "/v1/realtime/video", **more: Any) -> Iterator[Client]:
    """Connect to a server of this machine; `more` is passed to `websockets`."""
    more = {"max_size": None, "open_timeout": TIMEOUT_SECONDS, **more}
    with connect(f"ws://127.0.0.1:{port}{path}", **more) as socket:
        yield Client(socket)
