"""A session from its start to its end, over a real connection."""

from __future__ import annotations

import pytest

from sana_stream.streaming.control.job_queue import JobQueue, JobState
from sana_stream.streaming.web.live_feed import LiveFeed
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.server import WebServer

from ...http_client import ask, await_that, numbers_of
from ..test_viewers import Megabytes
from .maker import Client, Maker, client


def test_chunks_joined_are_the_whole_video(viewer: Client, maker: Maker, jobs: JobQueue) -> None:
    maker.allow(1, 9)
    viewer.begin(seed=7, seconds=3)
    start = viewer.until("video.start")
    assert start["format"] == "m4s"
    assert start["mime"].startswith("video/mp4; codecs=")
    assert start["config"]["prompt"] == "a red boat"
    assert {**start["config"], "seed": 7, "width": 96, "height": 64, "fps": 16} == start["config"]
    chunks = [viewer.message() for _ in range(3)]
    assert [chunk["type"] for chunk in chunks] == ["video.chunk_metadata"] * 3
    assert [chunk["num_frames"] for chunk in chunks] == [17, 16, 15]
    assert [chunk["generation_chunk_index"] for chunk in chunks] == [0, 1, 2]
    assert [chunk["transport_chunk_index"] for chunk in chunks] == [0, 1, 2]
    assert {chunk["kind"] for chunk in chunks} == {"media"}
    done = viewer.message()
    assert done == {
        "type": "session.done",
        "request_id": start["request_id"],
        "chunks": 3,
        "stopped": False,
    }
    assert viewer.closed() == 1000
    assert numbers_of(viewer.video) == list(range(48))
    assert [job.state for job in jobs.jobs()] == [JobState.FINISHED]


def test_events_are_reported_with_their_chunks(viewer: Client, maker: Maker) -> None:
    viewer.begin()
    viewer.until("video.start")
    maker.allow(1)
    viewer.until("video.chunk_metadata")
    viewer.prompt("noon", "first")
    viewer.prompt("night", "second", 0)
    viewer.prompt("night", "second", 0)  # a retry
    queued = [viewer.message() for _ in range(3)]
    assert [each["type"] for each in queued] == ["session.interaction.queued"] * 3
    assert [each["event_id"] for each in queued] == ["first", "second", "second"]
    maker.allow(1)
    chunk = viewer.until("video.chunk_metadata")
    assert chunk["started_event_ids"] == chunk["active_event_ids"] == ["second"]
    assert chunk["completed_event_ids"] == ["first", "second"]
    viewer.prompt("other", "second")
    conflict = viewer.message()
    assert (conflict["code"], conflict["event_id"]) == ("event_id_conflict", "second")
    viewer.prompt("dusk", chunks=4)  # over three blocks, then the prompt alone
    event_id = viewer.message()["event_id"]
    maker.allow(1)
    chunk = viewer.until("video.chunk_metadata")
    assert chunk["started_event_ids"] == chunk["active_event_ids"] == [event_id]
    assert chunk["completed_event_ids"] == []
    viewer.prompt("never", "late")
    viewer.send("session.stop")
    ended = [viewer.until("error"), viewer.message()]
    assert ended[0]["event_id"] == event_id
    assert (ended[1]["event_id"], ended[1]["code"]) == ("late", "interaction_failed")
    assert viewer.message()["stopped"]


def test_a_stop_ends_the_stream_and_ping_is_answered(
    viewer: Client, maker: Maker, jobs: JobQueue, server: WebServer
) -> None:
    viewer.begin()
    viewer.until("video.start")
    viewer.send("session.ping")
    assert viewer.message() == {"type": "session.pong"}
    maker.allow(1, 2)
    viewer.until("video.chunk_metadata")
    assert ask(server, "/streams/1/")[0] == 200, "the page shows it"
    assert b'"viewers":1' in ask(server, "/streams/1/status")[1]
    viewer.until("video.chunk_metadata")
    viewer.send("session.stop")
    done = viewer.until("session.done")
    assert (done["chunks"], done["stopped"]) == (2, True)
    assert viewer.closed() == 1000
    assert [job.state for job in jobs.jobs()] == [JobState.FINISHED]


def test_a_session_waits_in_the_queue(server: WebServer, jobs: JobQueue, maker: Maker) -> None:
    with client(server.access.port) as first, client(server.access.port) as second:
        first.begin()
        first.until("video.start")
        second.begin()
        queued = second.message()
        assert (queued["type"], queued["place"], queued["stream_id"]) == ("session.queued", 1, 2)
        second.prompt("night", "early")
        assert second.message()["code"] == "not_started"
        second.send("session.stop")
        done = second.message()
        assert (done["type"], done["chunks"], done["stopped"]) == ("session.done", 0, True)
        assert [job.state for job in jobs.jobs()] == [JobState.RUNNING, JobState.CANCELLED]
        with client(server.access.port) as third:
            third.begin()
            third.until("session.queued")
        await_that(lambda: jobs.jobs()[2].state is JobState.CANCELLED, "it still waits")


def test_the_stream_of_a_client_that_disconnects_is_cancelled(
    server: WebServer, jobs: JobQueue, maker: Maker, streams: StreamRegistry
) -> None:
    with client(server.access.port) as viewer:
        viewer.begin()
        viewer.until("video.start")
        viewer.socket.socket.close()  # without a closing handshake
    await_that(lambda: jobs.jobs()[0].state is JobState.CANCELLED, "it is still made")
    stream = streams.newest
    assert stream is not None
    await_that(lambda: not stream.feed.viewers, "it is still watched")


def test_a_client_may_leave_after_its_stop(server: WebServer, jobs: JobQueue, maker: Maker) -> None:
    with client(server.access.port) as viewer:
        viewer.begin()
        viewer.until("video.start")
        viewer.send("session.stop")
    await_that(lambda: jobs.jobs()[0].is_over, "it is still made")
    assert jobs.jobs()[0].state is JobState.FINISHED


@pytest.mark.parametrize("end", ["cancelled", "server", "failed"])
def test_what_others_end_is_reported(
    viewer: Client, maker: Maker, jobs: JobQueue, end: str
) -> None:
    viewer.begin()
    viewer.until("video.start")
    if end == "failed":
        viewer.prompt("fail")
        viewer.until("session.interaction.queued")
        maker.allow(1)
        error = viewer.until("error")
        assert (error["code"], error["message"]) == ("generation_failed", "no memory is left")
        assert viewer.closed() == 1011
        return
    if end == "cancelled":
        jobs.cancel(1)
    else:
        jobs.interrupt()
    assert viewer.until("session.done")["stopped"]
    assert jobs.jobs()[0].state is JobState.CANCELLED, "no later server continues it"
    assert jobs.unfinished() == ()


def test_a_client_that_reads_nothing_is_disconnected_and_delays_no_other(
    server: WebServer, jobs: JobQueue, streams: StreamRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sana_stream.streaming.web.realtime.connection.STALL_SECONDS", 0.3)
    maker = Maker(jobs, streams, threads=2)

    def without_encoder(feed: LiveFeed) -> None:
        monkeypatch.setattr(feed, "_fragments", Megabytes())

    maker.prepare = without_encoder
    with client(server.access.port, max_queue=1) as stalled, client(server.access.port) as other:
        stalled.begin()
        stalled.until("video.start")
        other.begin()
        other.until("video.start")
        for _ in range(60):  # until all that the system holds for it is full
            maker.allow(1)
            maker.allow(2)
            other.until("video.chunk_metadata")
        await_that(lambda: jobs.jobs()[0].state is JobState.CANCELLED, "it is still made")
        maker.allow(2)
        assert other.until("video.chunk_metadata")["generation_chunk_index"] == 60
        assert len(other.video) == 61 << 20
        stalled.socket.socket.close()
    maker.close()
