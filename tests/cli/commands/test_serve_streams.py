"""A server process with several streams at once, killed and started again."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sana_stream.engine.story.read import read_story

from ...command import pictures, start

TIMEOUT_SECONDS = 120
FILM = {"story": "a red boat\n0:01 a fox", "seconds": 3, "seed": 5}


class Served:
    """A running server and an HTTP client of it."""

    def __init__(self, process: Any) -> None:
        self.process = process
        line = process.stderr.readline()
        assert b"the page is at" in line, line
        self.port = int(line.rpartition(b":")[2].strip(b"/\n"))

    def ask(self, method: str, path: str, body: object = None) -> http.client.HTTPResponse:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)) as connection:
            words = {"Content-Type": "application/json"}
            connection.request(method, path, json.dumps(body), words)
            answer = connection.getresponse()
            answer.content = answer.read()  # type: ignore[attr-defined]
            return answer

    def json(self, path: str) -> Any:
        return json.loads(self.ask("GET", path).content)  # type: ignore[attr-defined]

    def submit(self, job: object) -> int:
        answer = self.ask("POST", "/streams", job)
        assert answer.status == 201
        return json.loads(answer.content)["id"]  # type: ignore[attr-defined]

    def states(self) -> dict[int, str]:
        return {job["id"]: job["state"] for job in self.json("/streams")}

    def blocks(self, stream_id: int) -> int:
        return self.json(f"/streams/{stream_id}/status").get("blocks", 0)

    def await_that(self, what: Callable[[], bool]) -> None:
        until = time.monotonic() + TIMEOUT_SECONDS
        while not what():
            assert self.process.poll() is None, "the server has ended"
            assert time.monotonic() < until, "it did not come"
            time.sleep(0.1)


@contextmanager
def serving(folder: Path, model: Path) -> Iterator[Served]:
    argv = ("serve", "--port", "0", "--model", model, "--record", "films", "--streams", "3")
    words = ("--overcommit", "--checkpoint-every", "0.1s")
    process = start(*argv, *words, cwd=folder)
    try:
        yield Served(process)
    finally:
        process.kill()
        process.communicate(timeout=TIMEOUT_SECONDS)


def test_streams_run_together_and_outlive_a_killed_server(
    tmp_path: Path, tiny_folder: Path
) -> None:
    films = tmp_path / "films"
    with serving(tmp_path, tiny_folder) as served:
        boat, moon = (served.submit({"story": story}) for story in ("a red boat", "the moon"))
        film = served.submit(FILM)
        queued = served.submit({"story": "night", "seconds": 1})
        served.await_that(lambda: served.blocks(film) > 2)
        assert served.ask("POST", f"/streams/{film}/command", {"command": "/pause"}).status == 202
        served.await_that(lambda: min(served.blocks(boat), served.blocks(moon)) > 1)
        assert list(served.states().values()) == ["running"] * 3 + ["queued"]
        assert served.json(f"/streams/{queued}/status")["place"] == 1
        refused = served.ask("GET", f"/streams/{queued}/live.mp4")
        assert (refused.status, int(refused.headers["Retry-After"]) > 0) == (503, True)
        with socket.create_connection(("127.0.0.1", served.port)) as stalled:  # it reads nothing
            stalled.sendall(f"GET /streams/{moon}/live.mp4 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert served.ask("POST", f"/streams/{boat}/prompt", {"prompt": "dusk"}).status == 202
            assert (
                served.ask("POST", f"/streams/{moon}/command", {"command": "/pause"}).status == 202
            )
            shown = f"/streams/{boat}/status"
            served.await_that(lambda: len(served.json(shown)["shown"]) == 2)
            served.await_that(lambda: served.json(f"/streams/{moon}/status")["state"] == "paused")
        assert len(served.json(f"/streams/{film}/status")["shown"]) <= 2
        turn = served.json(shown)["shown"][1]
        assert turn["prompt"] == "dusk"
        assert served.ask("GET", f"/streams/{boat}/download").status == 200
        assert served.json("/status")["stream"] == film
        served.await_that((films / f"stream-{film:04}.ckpt").exists)
    assert {path.name for path in films.glob("*.job.json")} >= {"stream-0001.job.json"}

    with serving(tmp_path, tiny_folder) as served:
        again = served.submit(FILM)
        served.await_that(
            lambda: any(cue["prompt"] == "dusk" for cue in served.json(shown).get("shown", ()))
        )
        served.await_that(lambda: served.blocks(moon) > 3)  # which was paused
        assert served.ask("DELETE", f"/streams/{moon}").status == 204
        done = {film: "finished", queued: "finished", again: "finished", moon: "cancelled"}
        served.await_that(lambda: served.states().items() >= done.items())
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(TIMEOUT_SECONDS) == 128 + signal.SIGTERM
    shots = [cue.start_seconds for cue in read_story(films / "stream-0001.vtt").cues]
    assert [round((each or 0) * 16) for each in shots] == [0, turn["start"]]
    killed, undisturbed = (pictures(films / f"stream-{each:04}.mp4") for each in (film, again))
    assert np.array_equal(killed, undisturbed)
    assert [path.name for path in films.glob("*.job.json")] == ["stream-0001.job.json"]
