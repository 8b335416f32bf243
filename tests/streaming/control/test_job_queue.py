"""The job queue of a server: one job runs, the others wait, and old jobs are dropped."""

from __future__ import annotations

import threading

import pytest

from sana_stream.errors import BranchError, JobError, QueueFullError, StoreError
from sana_stream.streaming.control.job_queue import JobQueue, StreamJob
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.web.auth import AccessPolicy
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.server import WebServer

from ..http_client import TIMEOUT_SECONDS, ask


def states(queue: JobQueue) -> dict[int, str]:
    return {job.id: job.state.value for job in queue.jobs()}


def test_jobs_run_in_order() -> None:
    queue, stop = JobQueue(), threading.Event()
    for story in ("dawn", "noon", "dusk"):
        queue.submit({"story": story, "seed": 3})
    for number, story in enumerate(("dawn", "noon"), 1):
        found = queue.next(stop)
        assert found
        job, _ = found
        assert (job.id, job.request.story, job.request.seed) == (number, story, 3)
        assert queue.place(job) is None
        assert queue.place(queue.jobs()[2]) == 3 - number
        queue.end(job, "no memory" if number == 2 else "")
    assert states(queue) == {1: "finished", 2: "failed", 3: "queued"}
    assert queue.jobs()[1].message == "no memory"


def test_next_waits_for_a_job_or_stop() -> None:
    queue, stop, got = JobQueue(), threading.Event(), []
    thread = threading.Thread(target=lambda: got.append(queue.next(stop)), daemon=True)
    thread.start()
    queue.submit({"story": "dawn"})
    thread.join(TIMEOUT_SECONDS)
    assert got[0][0].request.story == "dawn"
    queue.cancel(1)
    threading.Timer(0.1, stop.set).start()
    assert queue.next(stop) is None


def test_cancel_removes_or_stops_a_job() -> None:
    queue = JobQueue()
    for story in ("dawn", "noon", "dusk"):
        queue.submit({"story": story})
    running = [queue.next(threading.Event()) for _ in range(2)]
    assert running[0]
    assert running[1]
    (first, control), (second, other) = running[0], running[1]
    assert queue.cancel(3)
    assert queue.cancel(first.id)
    assert (control.stop.is_set(), other.stop.is_set()) == (True, False)
    queue.end(first)
    assert states(queue) == {1: "cancelled", 2: "running", 3: "cancelled"}
    assert not queue.cancel(first.id)
    assert not queue.cancel(99)
    queue.end(second)


class Kept:
    """A store in memory: the ids of the jobs that the next server would find."""

    def __init__(self) -> None:
        self.ids: set[int] = set()

    def save(self, job: StreamJob) -> None:
        self.ids.add(job.id)

    def remove(self, job: StreamJob) -> None:
        self.ids.discard(job.id)

    def control(self, job: StreamJob) -> LiveControl:
        return LiveControl()


def test_end_of_the_server_keeps_what_has_not_ended() -> None:
    """Each pair: how a running stream comes to its end, and whether the next server has it."""
    kept = Kept()
    queue = JobQueue(store=kept)
    for story in ("whole", "cancelled", "stopped", "failed", "interrupted", "queued"):
        queue.submit({"story": story})
    running = [queue.next(threading.Event()) for _ in range(5)]
    (_, cancelled, stopped, _, interrupted) = (found[1] for found in running if found)
    queue.cancel(2)
    stopped.end()
    queue.interrupt()
    assert all(control.stop.is_set() for control in (cancelled, stopped, interrupted))
    over = [queue.settle(found[0], found[0].request.story == "whole") for found in running if found]
    assert over == [True, True, True, False, False]
    for found in filter(None, running):
        queue.end(found[0], "no memory" if found[0].request.story == "failed" else "")
    assert list(states(queue).values()) == [
        *("finished", "cancelled", "finished", "failed", "queued", "queued")
    ]
    assert kept.ids == {5, 6}
    later = JobQueue(first=7, store=kept)
    later.restore(job for job in queue.jobs() if job.id in kept.ids)
    assert states(later) == {5: "queued", 6: "queued"}
    assert later.submit({"story": "new"}).id == 7


def test_next_job_waits_until_it_is_claimed() -> None:
    queue, stop, answers = JobQueue(), threading.Event(), iter([False, False, True])
    queue.submit({"story": "dawn"})
    found = queue.next(stop, lambda _: next(answers))
    assert found is not None
    assert next(answers, None) is None


class SlowPreparation:
    """Keeps each job until all of `count` requests are prepared or refused."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count)
        self.fail = False
        self.discarded: list[int] = []

    def check(self, job: StreamJob) -> None:
        self.barrier.wait(TIMEOUT_SECONDS)  # all have been let in by the first look at the queue

    def prepare(self, job: StreamJob, picture: bytes | None) -> StreamJob:
        if self.fail:
            raise StoreError("the disk is full")
        self.barrier.wait(TIMEOUT_SECONDS)
        return job

    def discard(self, job: StreamJob) -> None:
        self.discarded.append(job.id)


def test_concurrent_requests_do_not_exceed_the_limit() -> None:
    """24 requests at the same time, none of which is queued before all have been looked at."""
    preparation = SlowPreparation(24)
    queue, refused = JobQueue(preparation), []

    def submit() -> None:
        try:
            queue.submit({"story": "dawn"})
        except QueueFullError:
            refused.append(queue.waiting)
            preparation.barrier.wait(TIMEOUT_SECONDS)

    threads = [threading.Thread(target=submit, daemon=True) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_SECONDS)
    assert (queue.waiting, refused) == (16, [0] * 8)
    assert sorted(states(queue)) == list(range(1, 17))


def test_requests_that_fail_leave_room() -> None:
    preparation = SlowPreparation(1)
    queue, preparation.fail = JobQueue(preparation), True
    for _ in range(20):
        with pytest.raises(StoreError):
            queue.submit({"story": "dawn"})
    preparation.fail = False
    for _ in range(16):
        queue.submit({"story": "dawn"})
    assert queue.waiting == 16


def test_queued_and_past_jobs_are_bounded() -> None:
    forgotten: list[int] = []
    queue = JobQueue(forgotten=forgotten.append)
    for _ in range(16):
        queue.submit({"story": "dawn"})
    with pytest.raises(QueueFullError, match="16 streams are waiting; try again later"):
        queue.submit({"story": "dawn"})
    for number in range(1, 201):
        queue.cancel(number)
        queue.submit({"story": "dawn"})
    assert len(queue.jobs()) == 32 + 16
    assert forgotten == list(range(1, 200 - 32 + 1))


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
        ({"story": "x", "path": "/etc"}, "'path': a stream has prompt, story, seed, seconds"),
        ({"text": "x"}, "'text': a stream has prompt, story"),
        ({"prompt": "x", "story": "x"}, "prompt and story are both given"),
        ({"prompt": "x" * 4001}, "prompt: must have 1 to 4000 characters"),
        ({"prompt": " "}, "prompt: must have 1 to 4000 characters"),
        ({"prompt": "x", "seconds": 1, "num_frames": 9}, "leave one of them out"),
        ({"prompt": "x", "size": "224:128"}, "size: must be width and height"),
        ({"prompt": "x", "fps": 0}, "fps: must be from 0.001 to 1000"),
        ({"prompt": "x", "guidance_scale": -1}, "guidance_scale: must be from 0 to 100"),
        ({"prompt": "x", "num_inference_steps": 0}, "num_inference_steps: must be from 1 to"),
        ({"prompt": "x", "negative_prompt": "\x00"}, "negative_prompt: has characters"),
        ({"prompt": "x", "branch_from": 3}, "branch_from: cannot be '3'; it must be such as"),
        ({"branch_from": {"stream": 0}}, 'branch_from: must be such as {"stream": 3'),
        ({"branch_from": {"stream": 1}, "size": "1x1"}, "size: a branch has that of its stream"),
    ],
)
def test_invalid_jobs_are_refused(request_: object, message: str) -> None:
    queue = JobQueue()
    with pytest.raises(JobError, match=message):
        queue.submit(request_)
    assert queue.jobs() == ()


def test_story_check_may_refuse_a_job() -> None:
    class Preparation:
        def check(self, job: StreamJob) -> None:
            raise ValueError(f"line 1: {job.request.story!r} is no story")

        def prepare(self, job: StreamJob, picture: bytes | None) -> StreamJob:
            pytest.fail("a refused job was prepared")

        def discard(self, job: StreamJob) -> None:
            pytest.fail("nothing was prepared that could be discarded")

    with pytest.raises(JobError, match="line 1: 'x' is no story"):
        JobQueue(Preparation()).submit({"story": "x"})


class Prepared:
    """Prepares nothing, or fails; records which jobs were discarded, and in which thread."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.discarded: list[int] = []
        self.threads: list[str] = []

    def check(self, job: StreamJob) -> None:
        pass

    def prepare(self, job: StreamJob, picture: bytes | None) -> StreamJob:
        if self.error is not None:
            raise self.error
        return job

    def discard(self, job: StreamJob) -> None:
        self.discarded.append(job.id)
        self.threads.append(threading.current_thread().name)


class FullStore:
    """Has no room for a job."""

    def save(self, job: StreamJob) -> None:
        raise StoreError("the disk is full")

    def remove(self, job: StreamJob) -> None:
        pytest.fail("a job was removed that was not saved")

    def control(self, job: StreamJob) -> LiveControl:
        pytest.fail("a job runs that was not saved")


def test_what_was_prepared_of_a_refused_job_is_discarded() -> None:
    """A picture may be saved when the moment of its branch turns out to be missing."""
    for error in (BranchError("stream 1: no such moment"), StoreError("the disk is full")):
        prepared = Prepared(error)
        with pytest.raises(type(error)):
            JobQueue(prepared).submit({"story": "dawn"})
        assert prepared.discarded == [1]
    prepared = Prepared()
    with pytest.raises(StoreError):
        JobQueue(prepared, store=FullStore()).submit({"story": "dawn"})
    assert prepared.discarded == [1]


def test_job_of_a_client_that_comes_as_the_server_ends_is_cancelled() -> None:
    class Slow(Prepared):
        def prepare(self, job: StreamJob, picture: bytes | None) -> StreamJob:
            queue.interrupt()
            return job

    queue = JobQueue(prepared := Slow())
    queue.submit({"story": "dawn"}, keep=False)
    assert states(queue) == {1: "cancelled"}
    assert prepared.discarded == [1]


def test_files_are_not_removed_in_the_event_loop() -> None:
    queue = JobQueue(prepared := Prepared())
    queue.submit({"story": "dawn"})
    with WebServer(StreamRegistry(), AccessPolicy.on("127.0.0.1", 0), queue) as server:
        assert ask(server, "/streams/1", method="DELETE")[0] == 204
    assert prepared.discarded == [1]
    assert "web server" not in prepared.threads
