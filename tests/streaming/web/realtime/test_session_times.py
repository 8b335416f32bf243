"""Time limits and the pace of sessions, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import ANY

import pytest

from sana_stream.streaming.control.job_queue import JobQueue, JobState
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.web.live_feed import LiveFeed
from sana_stream.streaming.web.realtime.connection import RealtimeConnection, SessionEnded
from sana_stream.streaming.web.realtime.messages import SessionPong
from sana_stream.streaming.web.realtime.session import RealtimeSession
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.served_model import ANY_MODEL
from sana_stream.streaming.web.status import RunStatus

from ...blocks import blocks
from ...http_client import VIDEO
from .virtual_time import FakeSocket, now, run


class Served:
    """A session, and the stream that begins for it."""

    def __init__(self) -> None:
        self.socket, self.jobs, self.streams = FakeSocket(), JobQueue(), StreamRegistry()
        self.feed, self.control = LiveFeed(VIDEO), LiveControl()
        connection = RealtimeConnection(self.socket)  # type: ignore[arg-type]
        session = RealtimeSession(connection, self.jobs, self.streams, ANY_MODEL)
        self.task = asyncio.create_task(session.run())

    async def begin(self, made: int, **params: object) -> None:
        """Start the session, and begin its stream with blocks that were made ahead."""
        self.socket.give(type="session.start", prompt="a red boat", extra_params=params)
        while not self.jobs.jobs():
            await asyncio.sleep(0)
        found = self.jobs.next(ANY_TIME)
        assert found is not None
        job, _ = found
        self.streams.begin(self.feed, self.control, RunStatus(VIDEO), None, job.id)
        for block in blocks(made):
            self.feed.write(block)

    def end(self) -> None:
        self.feed.close()
        self.jobs.end(self.jobs.jobs()[0])


ANY_TIME: Any = type("Never", (), {"is_set": lambda _: False})()


def test_a_client_that_does_not_start_is_disconnected_after_ten_seconds() -> None:
    async def wait() -> None:
        served = Served()
        await served.task
        assert now() == pytest.approx(10.0)
        message = {"type": "error", "code": "start_timeout", "message": ANY}
        assert served.socket.sent == [(10.0, message)]
        assert served.socket.closed == (1008, 10.0)
        await asyncio.sleep(100)
        assert served.socket.aborted == 40.0, "its last messages are not waited for for ever"

    run(wait())


def test_a_client_that_takes_nothing_is_disconnected_after_a_minute() -> None:
    async def wait() -> None:
        served = Served()
        await served.begin(2)
        while not served.socket.times("video.chunk_metadata"):
            await asyncio.sleep(0.01)
        served.socket.taking.clear()
        for block in blocks(4):
            served.feed.write(block)
        begun = now()
        await served.task
        assert served.socket.aborted == pytest.approx(begun + 60, abs=0.1)
        assert served.jobs.jobs()[0].state is JobState.CANCELLED
        assert not served.feed.viewers

    run(wait())


def test_each_message_has_the_whole_minute() -> None:
    async def wait() -> None:
        socket = FakeSocket()
        connection = RealtimeConnection(socket)  # type: ignore[arg-type]
        loop = asyncio.get_running_loop()
        for _ in range(3):
            socket.taking.clear()
            loop.call_later(59, socket.taking.set)
            await connection.send(SessionPong())
        assert socket.aborted is None
        socket.taking.clear()
        with pytest.raises(SessionEnded, match="read nothing for 60 s"):
            await connection.send(SessionPong(), b"video")
        assert socket.aborted == pytest.approx(3 * 59 + 60)

    run(wait())


@pytest.mark.parametrize(("lead", "times"), [(0.0, [0, 17, 33]), (1.0, [0, 1, 17])])
def test_chunks_are_sent_as_they_play(lead: float, times: list[int]) -> None:
    """In frames of 1/16 s; the first block has 17, the others 16."""

    async def wait() -> None:
        served = Served()
        await served.begin(3, pace_to_media_time=True, pacing_lead_seconds=lead)
        while len(served.socket.times("video.chunk_metadata")) < 3:
            await asyncio.sleep(0.01)
        sent = served.socket.times("video.chunk_metadata")
        assert [at - sent[0] for at in sent] == pytest.approx([n / 16 for n in times], abs=1e-6)
        served.end()
        await served.task

    run(wait())


@pytest.mark.parametrize("paced", [False, True])
def test_without_pacing_and_after_a_stop_chunks_are_sent_at_once(paced: bool) -> None:
    async def wait() -> None:
        served = Served()
        await served.begin(5, pace_to_media_time=paced)
        while not served.socket.times("video.chunk_metadata"):
            await asyncio.sleep(0.01)
        begun = now()
        if paced:
            served.socket.give(type="session.stop")
        while len(served.socket.times("video.chunk_metadata")) < 5:
            await asyncio.sleep(0.01)
        assert now() - begun < 0.1
        assert served.control.stop.is_set() is paced
        served.end()
        await served.task
        assert served.socket.sent[-1][1]["stopped"] is paced
        assert served.socket.closed is not None
        assert served.socket.closed[0] == 1000

    run(wait())
