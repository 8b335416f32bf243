"""The server as a process: jobs, requests of the web page, files, shutdown."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sana_stream.engine.story.read import read_story

from ...command import pictures, run, start


class Served:
    """A running server and an HTTP client of it."""

    def __init__(self, process: subprocess.Popen[bytes], line: int = 1) -> None:
        self.process = process
        assert process.stderr is not None
        first = [process.stderr.readline() for _ in range(line)][-1]
        found = re.search(rb"the page is at http://127.0.0.1:(\d+)/", first)
        assert found, first
        self._port = int(found[1])

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        result = answer.status, answer.read()
        connection.close()
        return result

    def json(self, path: str) -> Any:
        return json.loads(self.ask("GET", path)[1])

    def states(self) -> list[str]:
        return [order["state"] for order in self.json("/streams")]

    def await_that(self, what: Callable[[], bool]) -> None:
        until = time.monotonic() + 120
        while not what():
            assert self.process.poll() is None, "the server has ended"
            assert time.monotonic() < until, "it did not come"
            time.sleep(0.05)


@pytest.fixture
def served(tmp_path: Path, tiny_folder: Path) -> Iterator[Served]:
    argv = ("--port", "0", "--model", tiny_folder, "--record", "films", "--seed", "3")
    process = start("serve", *argv, cwd=tmp_path)
    try:
        yield Served(process)
    finally:
        process.kill()
        process.communicate(timeout=120)


def test_streams_are_queued_controlled_ended_and_recorded(served: Served, tmp_path: Path) -> None:
    assert served.json("/status")["may_begin"]
    assert served.ask("POST", "/streams", {"story": "0:05 late\n0:02 early"})[0] == 400
    assert b"1e9" in served.ask("POST", "/streams", {"story": "a", "seconds": "1e9"})[1]
    picture = served.ask("POST", "/streams", {"story": "a boat<image>/etc/boat.png"})
    assert picture[0] == 400
    assert b"cannot name pictures" in picture[1]
    first = {"story": "a red boat\n0:40 a fox"}
    second = {"story": "the moon", "seconds": 1, "seed": 5}
    assert served.ask("POST", "/streams", first)[0] == 201
    status, order = served.ask("POST", "/streams", second)
    assert status == 201
    assert json.loads(order)["id"] == 2
    served.await_that(lambda: served.json("/status").get("blocks", 0) > 1)
    assert served.states() == ["running", "queued"]
    assert served.json("/status")["seed"] == 3
    coming = {"start": 641, "prompt": "a fox", "transition_blocks": 0}
    assert served.json("/status")["coming"] == [coming]
    assert served.ask("POST", "/prompt", {"prompt": "the night falls"})[0] == 202
    served.await_that(lambda: len(served.json("/status")["shown"]) == 2)
    turn = served.json("/status")["shown"][1]
    assert turn["prompt"] == "the night falls"
    status, film = served.ask("GET", "/download")
    assert status == 200
    (tmp_path / "so far.mp4").write_bytes(film)
    assert len(pictures(tmp_path / "so far.mp4")) >= turn["start"]
    assert served.ask("DELETE", "/streams/1")[0] == 204
    served.await_that(lambda: served.states() == ["cancelled", "finished"])
    assert served.json("/status")["state"] == "finished"
    assert served.ask("POST", "/streams", {"story": "the sun"})[0] == 201
    served.await_that(lambda: served.json("/status").get("title") == "the sun")
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(120) == 128 + signal.SIGTERM
    films = tmp_path / "films"
    shown = [cue.prompt for cue in read_story(films / "stream-0001.vtt").cues]
    assert shown == ["a red boat", "the night falls"]
    assert (
        round((read_story(films / "stream-0001.vtt").cues[1].start_seconds or 0) * 16)
        == (turn["start"])
    )
    assert len(pictures(films / "stream-0002.mp4")) == 16


def test_streams_continue_on_a_full_disk(tmp_path: Path, tiny_folder: Path) -> None:
    """No file can be written, as on a full disk; standard error is a pipe."""
    pytest.importorskip("resource")
    process = start(
        *("serve", "--port", "0", "--model", tiny_folder, "--record", "films"),
        cwd=tmp_path,
        file_bytes=0,
    )
    try:
        served = Served(process, 2)
        for number in range(2):
            order = {"story": "the moon", "seconds": 1}
            assert served.ask("POST", "/streams", order)[0] == 201
            served.await_that(lambda n=number: served.states() == ["finished"] * (n + 1))
            assert served.json("/status")["blocks"] == 2
            assert "This stream is not recorded: " in served.json("/status")["notice"]
            assert served.ask("GET", "/download")[0] == 404
        assert not list((tmp_path / "films").glob("stream-*"))
    finally:
        process.kill()
        process.communicate(timeout=120)


def test_removed_folder_does_not_end_a_running_stream(served: Served, tmp_path: Path) -> None:
    assert served.ask("POST", "/streams", {"story": "a red boat"})[0] == 201
    served.await_that(lambda: served.json("/status").get("blocks", 0) > 1)
    while (tmp_path / "films").exists():  # the server may still remove its own files from it
        shutil.rmtree(tmp_path / "films", ignore_errors=True)
    served.await_that(lambda: "the stream continues" in served.json("/status")["notice"])
    blocks = served.json("/status")["blocks"]
    served.await_that(lambda: served.json("/status")["blocks"] > blocks + 1)
    assert served.ask("GET", "/download")[0] == 404
    assert served.ask("DELETE", "/streams/1")[0] == 204
    assert served.ask("POST", "/streams", {"story": "the moon", "seconds": 1})[0] == 201
    served.await_that(lambda: served.states() == ["cancelled", "finished"])
    assert len(pictures(tmp_path / "films" / "stream-0002.mp4")) == 16


def test_second_server_on_a_folder_is_refused(served: Served, tmp_path: Path) -> None:
    argv = ("serve", "--port", "0", "--model", "pocket", "--record", "films")
    other = start(*argv, cwd=tmp_path)
    err = other.communicate(timeout=120)[1].decode()
    assert other.returncode == 2
    assert f"another server (process {served.process.pid}) records there" in err
    assert len(err.splitlines()) == 1


def test_moments_are_saved_next_to_the_recording_only(served: Served, tmp_path: Path) -> None:
    assert served.ask("POST", "/streams", {"story": "a red boat"})[0] == 201
    served.await_that(lambda: served.json("/status").get("blocks", 0) > 1)
    (tmp_path / "films" / "mine.ckpt").write_text("a foreign file")
    codes = [
        served.ask("POST", "/command", {"command": f"/branch {name}"})[0]
        for name in ("../up", "/etc/x", ".hidden", "con", "nul.a", "a" * 101, "a/b", "a\\b", "é")
    ]
    assert codes == [400] * 9
    for name in ("mine", "stream-0001", "dusk"):
        assert served.ask("POST", "/command", {"command": f"/branch {name}"})[0] == 202
        blocks = served.json("/status")["blocks"]
        served.await_that(lambda n=blocks: served.json("/status")["blocks"] > n + 2)
    assert (tmp_path / "films" / "dusk.ckpt").stat().st_size
    assert (tmp_path / "films" / "mine.ckpt").read_text() == "a foreign file"
    names = {path.name for path in (tmp_path / "films").glob("*.ckpt")}
    assert names == {"mine.ckpt", "dusk.ckpt", "stream-0001.ckpt"}
    assert not list(tmp_path.glob("*.ckpt"))
    codes = [served.ask("POST", "/command", {"command": "/branch a"})[0] for _ in range(30)]
    assert codes == [202] * 17 + [400] * 13


def test_serve_has_its_own_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("serve", "--help") == 0
    out = capfd.readouterr().out
    for option in ("--port", "--host", "--token", "--record", "--model", "--size"):
        assert option in out


def test_invalid_serve_options_exit_with_a_message(
    tiny_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    argv = ("serve", "--port", "0", "--model", tiny_folder)
    assert run(*argv, "--prompt", " ") == 2
    assert capfd.readouterr().err.splitlines()[1].startswith("sana-stream: --prompt: story: ")
    assert run(*argv, "--host", "8.8.8.8") == 2
    assert capfd.readouterr().err.startswith("sana-stream: port 0 on 8.8.8.8: ")
    assert run(*argv, "--streams", "0") == 2
    assert "--streams: " in capfd.readouterr().err
    assert run("serve", "--model", "pockt") == 2
    assert capfd.readouterr().err.startswith("sana-stream: model 'pockt' is not known")


def test_fleet_without_its_packages_is_one_line(
    tmp_path: Path,
    tiny_folder: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    argv = ("serve", "--port", "0", "--model", tiny_folder, "--fleet", "--store", tmp_path / "s")
    assert run(*argv) == 2
    line = "the fleet needs Ray and obstore: pip install 'sana-stream[fleet]'"
    assert capfd.readouterr().err == f"sana-stream: {line}\n"
    assert not (tmp_path / "s").exists()
