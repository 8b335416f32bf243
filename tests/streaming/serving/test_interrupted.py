"""Films whose streams are to be resumed after a restart of the server."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event

from sana_stream.streaming.control.job_queue import JobQueue

from ..control.test_job_queue import Kept, states
from .local_server import LocalServer, serving


def films(served: LocalServer) -> dict[int, str]:
    """The state of each film that is listed."""
    return {film["id"]: film["state"] for film in served.json("/films")["films"]}


def begin(served: LocalServer, count: int) -> list[int]:
    """Streams that run, with at least one block each."""
    found = [served.submit(prompt="a red boat", seed=5) for _ in range(count)]
    for each in found:
        served.await_that(lambda e=each: served.json(f"/streams/{e}/status").get("blocks", 0) > 0)
    return found


def test_film_whose_stream_waits_to_be_resumed_is_no_finished_one(
    tmp_path: Path, tiny_folder: Path
) -> None:
    with serving(tmp_path, tiny_folder, streams=3) as served:
        begin(served, 3)
        assert films(served) == {}
    with serving(tmp_path, tiny_folder) as served:
        served.await_that(lambda: 1 not in films(served))
        assert films(served) == {2: "interrupted", 3: "interrupted"}
        assert served.ask("DELETE", "/films/3")[0] == 204
        assert (films(served), served.state(3)) == ({2: "interrupted"}, "cancelled")
        assert [path.suffix for path in tmp_path.glob("stream-0003*")] == []
        assert served.ask("DELETE", "/streams/2")[0] == 204
        assert films(served) == {2: "finished"}
        assert served.ask("DELETE", "/streams/1")[0] == 204
        served.await_that(lambda: films(served) == {1: "finished", 2: "finished"})
    with serving(tmp_path, tiny_folder) as served:
        assert json.loads(served.ask("GET", "/streams")[1]) == []
        assert films(served) == {1: "finished", 2: "finished"}


def test_films_of_streams_that_are_not_resumed_are_finished(
    tmp_path: Path, tiny_folder: Path
) -> None:
    with serving(tmp_path, tiny_folder) as served:
        begin(served, 1)
    with serving(tmp_path, tiny_folder, resume=False) as served:
        assert films(served) == {1: "finished"}


def test_only_a_job_that_does_not_run_is_abandoned() -> None:
    kept = Kept()
    queue = JobQueue(store=kept)
    for story in ("running", "failed", "queued"):
        queue.submit({"story": story})
    running, failed = (queue.next(Event()) for _ in range(2))
    assert running is not None
    assert failed is not None
    queue.end(failed[0], "no memory", keep=True)
    assert kept.ids == {1, 2, 3}
    assert [queue.abandon(each) for each in (1, 2, 3, 4)] == [False, True, True, True]
    assert kept.ids == {1}
    assert states(queue) == {1: "running", 2: "failed", 3: "cancelled"}
