"""The job queue of a server: one job runs, the others wait, and old jobs are dropped."""

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


def states(queue: JobQueue) -> dict[int, str]:
    return {job.number: job.state.value for job in queue.jobs()}


def test_jobs_run_in_order() -> None:
    queue, stop = JobQueue(), threading.Event()
    for story in ("dawn", "noon", "dusk"):
        queue.submit({"story": story, "seed": 3})
    for number, story in enumerate(("dawn", "noon")):
        job = queue.next(stop)
        assert job
        assert (job.number, job.story, job.seed) == (number, story, 3)
        queue.begin(job, LiveControl())
        queue.end(job, "no memory" if number else "")
    assert states(queue) == {0: "finished", 1: "failed", 2: "queued"}
    assert queue.jobs()[1].message == "no memory"


def test_next_waits_for_a_job_or_stop() -> None:
    queue, stop, got = JobQueue(), threading.Event(), []
    thread = threading.Thread(target=lambda: got.append(queue.next(stop)), daemon=True)
    thread.start()
    queue.submit({"story": "dawn"})
    thread.join(TIMEOUT_SECONDS)
    assert got[0].story == "dawn"
    queue.cancel(0)
    threading.Timer(0.1, stop.set).start()
    assert queue.next(stop) is None


def test_cancel_removes_or_stops_a_job() -> None:
    queue, control = JobQueue(), LiveControl()
    first, second = (queue.submit({"story": story}) for story in ("dawn", "noon"))
    queue.begin(first, control)
    assert queue.cancel(second.number)
    assert not control.stop.is_set()
    assert queue.cancel(first.number)
    assert control.stop.is_set()
    queue.end(first)
    assert states(queue) == {0: "cancelled", 1: "cancelled"}
    assert not queue.cancel(first.number)
    assert not queue.cancel(99)


def test_job_cancelled_before_begin_does_not_run() -> None:
    queue, control = JobQueue(), LiveControl()
    queue.submit({"story": "dawn"})
    job = queue.next(threading.Event())
    assert job
    queue.cancel(job.number)
    queue.begin(job, control)
    assert control.stop.is_set()
    queue.end(job)
    assert states(queue) == {0: "cancelled"}


def test_queued_and_past_jobs_are_bounded() -> None:
    queue = JobQueue()
    for _ in range(16):
        queue.submit({"story": "dawn"})
    with pytest.raises(QueueFullError, match="16 streams are waiting; try again later"):
        queue.submit({"story": "dawn"})
    for number in range(200):
        queue.cancel(number)
        queue.submit({"story": "dawn"})
    assert len(queue.jobs()) == 32 + 16


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("dawn", "send JSON"),
        ({}, "send JSON"),
        ({"story": ""}, "story: must have 1 to 16384 characters"),
        ({"story": "x" * 20000}, "story: must have 1 to 16384 characters"),
        ({"story": ["x"]}, r"story: cannot be \"\['x'\]\""),
        ({"story": "x\ud800"}, "story: has characters that are not text"),
        ({"story": "a\x1b]0;owned\x07"}, "story: has characters that are not text"),
        ({"story": "a\x9b31m"}, "story: has characters that are not text"),
        ({"story": "x", "seed": True}, "seed: cannot be 'True'"),
        ({"story": "x", "seed": -1}, "seed: must be from 0"),
        ({"story": "x", "seconds": 0}, "seconds: must be more than 0"),
        ({"story": "x", "seconds": float("nan")}, "seconds: must be more than 0"),
        ({"story": "x", "path": "/etc"}, "'path': a stream has story, seed, seconds"),
    ],
)
def test_invalid_jobs_are_refused(request_: object, message: str) -> None:
    queue = JobQueue()
    with pytest.raises(JobError, match=message):
        queue.submit(request_)
    assert queue.jobs() == ()


def test_story_check_may_refuse_a_job() -> None:
    def check(job: StreamJob) -> None:
        raise ValueError(f"line 1: {job.story!r} is no story")

    with pytest.raises(JobError, match="line 1: 'x' is no story"):
        JobQueue(check).submit({"story": "x"})


def test_jobs_over_http() -> None:
    queue = JobQueue()
    with WebServer(CurrentStream(), AccessPolicy.on("127.0.0.1", 0), queue) as server:

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

        code, job = ask("POST", "/streams", {"story": "dawn", "seed": 4, "seconds": 60})
        assert code == 201
        assert job == {
            "number": 0,
            "story": "dawn",
            "seed": 4,
            "seconds": 60,
            "state": "queued",
            "message": "",
        }
        assert ask("GET", "/streams") == (200, [job])
        assert ask("POST", "/streams", {"story": 5})[0] == 400
        assert ask("GET", "/status")[1]["may_begin"]
        assert ask("DELETE", "/streams/7")[0] == 404
        assert ask("DELETE", "/streams/0")[0] == 204
        assert queue.jobs()[0].state is JobState.CANCELLED
    with WebServer(CurrentStream(), AccessPolicy.on("0.0.0.0", 0), queue) as server:
        query = f"?token={server.access.view_token}"
        assert ask("POST", "/streams" + query, {"story": "dawn"})[0] == 403
        assert ask("GET", "/streams" + query)[0] == 403
        assert ask("DELETE", "/streams/0" + query)[0] == 403
        assert ask("GET", "/status" + query)[1]["may_begin"] is False
