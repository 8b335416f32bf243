"""Orders for streams: one on, the others waiting, none for ever."""

from __future__ import annotations

import http.client
import json
import threading
from typing import Any

import pytest

from sana_stream.errors import JobError, QueueFullError
from sana_stream.streaming.control.job_queue import JobQueue, JobState, StreamJob
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.web.auth import AccessPolicy
from sana_stream.streaming.web.server import WebServer
from sana_stream.streaming.web.status import CurrentStream

from ..http_client import TIMEOUT_SECONDS


def states(programme: JobQueue) -> dict[int, str]:
    return {order.number: order.state.value for order in programme.jobs()}


def test_orders_are_made_one_after_the_other() -> None:
    programme, stop = JobQueue(), threading.Event()
    for story in ("dawn", "noon", "dusk"):
        programme.submit({"story": story, "seed": 3})
    for number, story in enumerate(("dawn", "noon")):
        order = programme.next(stop)
        assert order
        assert (order.number, order.story, order.seed) == (number, story, 3)
        programme.begin(order, LiveControl())
        programme.end(order, "no memory" if number else "")
    assert states(programme) == {0: "finished", 1: "failed", 2: "queued"}
    assert programme.jobs()[1].message == "no memory"


def test_the_run_waits_for_an_order_until_it_is_to_stop() -> None:
    programme, stop, got = JobQueue(), threading.Event(), []
    thread = threading.Thread(target=lambda: got.append(programme.next(stop)), daemon=True)
    thread.start()
    programme.submit({"story": "dawn"})
    thread.join(TIMEOUT_SECONDS)
    assert got[0].story == "dawn"
    programme.cancel(0)
    threading.Timer(0.1, stop.set).start()
    assert programme.next(stop) is None


def test_an_order_is_taken_back_or_ended() -> None:
    programme, control = JobQueue(), LiveControl()
    first, second = (programme.submit({"story": story}) for story in ("dawn", "noon"))
    programme.begin(first, control)
    assert programme.cancel(second.number)
    assert not control.stop.is_set()
    assert programme.cancel(first.number)
    assert control.stop.is_set()
    programme.end(first)
    assert states(programme) == {0: "cancelled", 1: "cancelled"}
    assert not programme.cancel(first.number)
    assert not programme.cancel(99)


def test_an_order_taken_back_at_the_last_moment_is_not_made() -> None:
    programme, control = JobQueue(), LiveControl()
    programme.submit({"story": "dawn"})
    order = programme.next(threading.Event())
    assert order
    programme.cancel(order.number)
    programme.begin(order, control)
    assert control.stop.is_set()
    programme.end(order)
    assert states(programme) == {0: "cancelled"}


def test_neither_waiting_nor_past_orders_pile_up() -> None:
    programme = JobQueue()
    for _ in range(16):
        programme.submit({"story": "dawn"})
    with pytest.raises(QueueFullError, match="16 streams are waiting; try again later"):
        programme.submit({"story": "dawn"})
    for number in range(200):
        programme.cancel(number)
        programme.submit({"story": "dawn"})
    assert len(programme.jobs()) == 32 + 16


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("dawn", "send JSON"),
        ({}, "send JSON"),
        ({"story": ""}, "story: must have 1 to 16384 characters"),
        ({"story": "x" * 20000}, "story: must have 1 to 16384 characters"),
        ({"story": ["x"]}, r"story: cannot be \"\['x'\]\""),
        ({"story": "x\ud800"}, "story: holds characters that are no text"),
        ({"story": "a\x1b]0;owned\x07"}, "story: holds characters that are no text"),
        ({"story": "a\x9b31m"}, "story: holds characters that are no text"),
        ({"story": "x", "seed": True}, "seed: cannot be 'True'"),
        ({"story": "x", "seed": -1}, "seed: must be from 0"),
        ({"story": "x", "seconds": 0}, "seconds: must be more than 0"),
        ({"story": "x", "seconds": float("nan")}, "seconds: must be more than 0"),
        ({"story": "x", "path": "/etc"}, "'path': a stream has story, seed, seconds"),
    ],
)
def test_orders_that_are_refused(request_: object, message: str) -> None:
    programme = JobQueue()
    with pytest.raises(JobError, match=message):
        programme.submit(request_)
    assert programme.jobs() == ()


def test_the_run_may_refuse_a_story() -> None:
    def check(order: StreamJob) -> None:
        raise ValueError(f"line 1: {order.story!r} is no story")

    with pytest.raises(JobError, match="line 1: 'x' is no story"):
        JobQueue(check).submit({"story": "x"})


def test_orders_over_http() -> None:
    programme = JobQueue()
    with WebServer(CurrentStream(), AccessPolicy.on("127.0.0.1", 0), programme) as server:

        def ask(method: str, path: str, body: object = None) -> tuple[int, Any]:
            connection = http.client.HTTPConnection(
                "127.0.0.1", server.access.port, timeout=TIMEOUT_SECONDS
            )
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            kind = answer.getheader("content-type", "")
            return answer.status, json.loads(content) if "json" in kind else content

        code, order = ask("POST", "/streams", {"story": "dawn", "seed": 4, "seconds": 60})
        assert code == 201
        assert order == {
            "number": 0,
            "story": "dawn",
            "seed": 4,
            "seconds": 60,
            "state": "queued",
            "message": "",
        }
        assert ask("GET", "/streams") == (200, [order])
        assert ask("POST", "/streams", {"story": 5})[0] == 400
        assert ask("GET", "/status")[1]["may_begin"]
        assert ask("DELETE", "/streams/7")[0] == 404
        assert ask("DELETE", "/streams/0")[0] == 204
        assert programme.jobs()[0].state is JobState.CANCELLED
    with WebServer(CurrentStream(), AccessPolicy.on("0.0.0.0", 0), programme) as server:
        query = f"?token={server.access.view_token}"
        assert ask("POST", "/streams" + query, {"story": "dawn"})[0] == 403
        assert ask("GET", "/streams" + query)[0] == 403
        assert ask("DELETE", "/streams/0" + query)[0] == 403
        assert ask("GET", "/status" + query)[1]["may_begin"] is False
