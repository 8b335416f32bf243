"""Answers about streams conform to the OpenAPI document, in every state of a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

from sana_stream.streaming.control.job_queue import JobQueue
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.run.films import RecordedFilms
from sana_stream.streaming.run.recordings import Recordings
from sana_stream.streaming.video_format import Metadata
from sana_stream.streaming.web.auth import AccessPolicy
from sana_stream.streaming.web.fleet import FleetMetrics, FleetReplica, FleetState
from sana_stream.streaming.web.live_feed import LiveFeed
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.served_model import ServedModel, UnknownWord
from sana_stream.streaming.web.server import WebServer
from sana_stream.streaming.web.status import RunStatus, ShownPrompt

from ..blocks import blocks, make_block
from ..http_client import VIDEO, ask
from .described import check_described

MODEL = ServedModel(lambda prompt: [UnknownWord("zebra", ("horse", "cow"))])


class Fleet:
    """A fleet with two replicas."""

    def describe(self) -> FleetState:
        replicas = {
            "a": FleetReplica("10.0.0.1:7", ["stream-0001"], draining=False, suspected=True),
            "b": FleetReplica(None, [], draining=True, suspected=False),
        }
        return FleetState("s3://films", replicas, 1, 6, 2, {"lost": 1}, 0.25, 1.5)

    def metrics(self) -> FleetMetrics:
        return FleetMetrics(2, 1, 6, 2, 9.0, 0.25, {"lost": 1})

    def drain(self, replica: str) -> int | None:
        return 1 if replica == "a" else None


class Asked:
    """A client that checks each answer."""

    def __init__(self, server: WebServer) -> None:
        self._server = server
        self._document = json.loads(ask(server, "/openapi.json")[1])

    def __call__(self, described: str, *path: str, body: object = None, method: str = "") -> Any:
        """Ask for a path, which is the described one unless it is given."""
        method = method or ("GET" if body is None else "POST")
        text = None if body is None else json.dumps(body)
        kind = {} if body is None else {"Content_Type": "application/json"}
        address = path[0] if path else described
        status, content = ask(self._server, address, text, method, **kind)
        return check_described(self._document, method.lower(), described, status, content)


@pytest.fixture
def queue() -> JobQueue:
    return JobQueue(first=3)


@pytest.fixture
def streams() -> StreamRegistry:
    return StreamRegistry()


@pytest.fixture
def asked(queue: JobQueue, streams: StreamRegistry, recordings: Recordings) -> Iterator[Asked]:
    access, films = AccessPolicy.on("127.0.0.1", 0), RecordedFilms(recordings)
    more = {"fleet": Fleet(), "model": MODEL, "films": films, "recordings": recordings}
    with WebServer(streams, access, queue, **more) as server:
        yield Asked(server)


def test_jobs_that_wait_run_and_end(asked: Asked, queue: JobQueue) -> None:
    assert asked("/status")["state"] == "empty"
    settings = {"seed": 7, "num_frames": 9, "negative_prompt": "rain", "guidance_scale": 2.5}
    sampling = {"num_inference_steps": 2, "flow_shift": 1.5, "fps": 8, "size": "64x32"}
    for fields in (
        {"prompt": "a red boat", "seconds": 60, "realtime": False},
        {"story": "0:00 a boat\n0:02 a fox", **settings, **sampling},
        {"branch_from": {"stream": 3, "seconds": 1.5}},
    ):
        made = asked("/streams", body=fields)
        assert fields.items() <= made.items()
        link = made["links"]["status"]
        assert asked("/streams/{id}/status", link)["state"] == "queued"
    found = queue.next(Event())
    assert found is not None
    queue.end(found[0], "no memory")
    queue.cancel(4)
    assert queue.next(Event()) is not None
    listed = asked("/streams")
    shown = [(each["id"], each["state"], each["message"], each["place"]) for each in listed]
    assert shown == [
        *((3, "failed", "no memory", None), (4, "cancelled", "", None), (5, "running", "", None)),
    ]
    for each in listed:
        assert asked("/streams/{id}", f"/streams/{each['id']}") == each
        status = asked("/streams/{id}/status", each["links"]["status"])
        assert (status["state"], status["stream"]) == (each["state"], each["id"])


def test_status_of_a_stream_that_begins_runs_pauses_and_ends(
    asked: Asked, streams: StreamRegistry
) -> None:
    story = (ShownPrompt(33, "a zebra", 2), ShownPrompt(99, "night"))
    control, feed = LiveControl(), LiveFeed(VIDEO)
    status = RunStatus(VIDEO, "A day", None, None, story, history_seconds=4)
    stream = streams.begin(feed, control, status)
    assert asked("/status")["state"] == "starting"
    assert asked("/streams/{id}/status", f"/streams/{stream.id}/status")["seed"] is None
    for block, _ in zip(blocks(), range(3), strict=False):
        status.on_block(block)
        feed.write(block)
    status.on_rewind(((17, 33),))
    status.set_notice("Rewound.")
    status.reseed(2**62)
    running = asked("/status")
    assert (running["state"], running["left_out"]) == ("running", [[17, 33]])
    assert "zebra" in json.dumps(running["unknown_words"])
    accepted = asked("/prompt", body={"prompt": "a zebra", "transition_blocks": 2})
    assert accepted["unknown_words"]
    cues = [{"at_seconds": 100, "prompt": "dusk", "transition_blocks": 1}]
    coming = asked("/story", body={"cues": cues}, method="PUT")["coming"]
    control.pause()
    paused = asked("/status")
    assert (paused["state"], paused["coming"]) == ("paused", coming)
    status.finish()
    assert asked("/status")["state"] == "finished"


def test_films_and_replicas(asked: Asked, recordings: Recordings) -> None:
    for number in (1, 2):
        path, file = recordings.begin(number, VIDEO, Metadata("A day"), lambda _: None)
        file.write(make_block(0, 0, 17, "a boat"))
        file.close()
    recordings.hold(2, path)
    films = asked("/films")["films"]
    assert [film["state"] for film in films] == ["interrupted", "finished"]
    assert asked("/fleet")["replicas"]["a"]["streams"] == ["stream-0001"]
    assert asked("/fleet/drain", body={"replica": "a"}) == {"replica": "a", "stored": 1}


def test_a_field_that_is_not_described_is_found(asked: Asked) -> None:
    status = asked("/status") | {"further": 1}
    with pytest.raises(Exception, match=r"further|not valid"):
        check_described(asked._document, "get", "/status", 200, json.dumps(status).encode())
