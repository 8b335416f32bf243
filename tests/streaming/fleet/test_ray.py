"""`sana-stream serve --fleet` on Ray with an S3 server: what is lost costs a pause and no frame."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import Request, urlopen

import av
import numpy as np
import pytest

from sana_stream import Engine, Run, RunConfig

from ...cli.commands.test_serve import Served
from ...command import environment, pictures, start
from .local_fleet import KeptFeed

MISSING = [name for name in ("ray", "obstore") if find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason="needs sana-stream[fleet]; `make test-fleet` has it"),
    pytest.mark.skipif(sys.platform != "linux", reason="a replica is killed by its process id"),
]
JOB = {"story": "a red boat\n0:04 the night falls", "seconds": 12, "seed": 3}  # 24 blocks
CONFIG = RunConfig(
    str(JOB["story"]), ["-"], seconds=12, seed=3, directed=True, realtime=False, checkpoint=False
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of moto's S3 server; a folder where moto is not installed."""
    if find_spec("moto") is None:
        yield str(tmp_path / "store")
        return
    words = [sys.executable, "-m", "moto.server", "-p", "0"]
    server = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        line = next(line for line in server.stderr if "Running on http://" in line)
        url = line.split()[-1]
        Thread(target=server.stderr.read, daemon=True).start()
        urlopen(Request(f"{url}/films", method="PUT"), timeout=30).close()
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        yield "s3://films/fleet"
    finally:
        server.kill()
        server.wait()


def watch(port: int, got: list[bytes]) -> None:
    """Read the live video from the first moment at which there is one."""
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.request("GET", "/streams/1/live.mp4")
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status == 200:
            got.append(body)
            return
        time.sleep(0.01)


def frames_of(video: bytes) -> np.ndarray:
    with av.open(io.BytesIO(video), "r") as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def film_of(engine: Engine, path: Path, seed: int) -> str:
    """The digest of the frames of an undisturbed stream."""
    with Run(engine, replace(CONFIG, outputs=[path], seed=seed)) as plain:
        for _ in plain:
            pass
    return digest(pictures(path))


def test_lost_replicas_cost_no_frame(
    store: str, tmp_path: Path, tiny_folder: Path, tiny_engine: Engine
) -> None:
    """One is killed, one stopped, one drained, each with the first of two streams.

    A viewer watches that one, another viewer reads nothing of it.
    """
    fleet = ("--fleet", "--store", store, "--snapshot-every", "4", "--block-timeout", "4")
    process = start(
        "serve", *fleet, "--streams", "2", *options(tiny_folder), cwd=tmp_path, fresh=True
    )
    try:
        served, got = Served(process), list[bytes]()
        viewer = Thread(target=watch, args=(served._port, got), daemon=True)
        viewer.start()
        for seed in (3, 4):
            assert served.ask("POST", "/streams", {**JOB, "seed": seed})[0] == 201
        await_blocks(served, 4)
        idle = socket.create_connection(("127.0.0.1", served._port))
        idle.sendall(b"GET /streams/1/live.mp4 HTTP/1.0\r\nHost: localhost\r\n\r\n")
        for number, loss in ((5, signal.SIGKILL), (9, signal.SIGSTOP)):
            await_blocks(served, number)
            os.kill(int(home(served)[1]["place"].rpartition(":")[2]), loss)
        await_blocks(served, 14)
        served.ask("POST", "/streams/1/command", {"command": "/pause"})
        served.await_that(lambda: len(served.json("/fleet")["replicas"]) == 2)
        assert served.ask("POST", "/fleet/drain", {"replica": home(served)[0]})[0] == 202
        served.ask("POST", "/streams/1/command", {"command": "/resume"})
        served.await_that(lambda: served.states() == ["finished", "finished"])
        counters = served.json("/fleet")
        viewer.join(60)
        idle.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.communicate(timeout=60)
    for number, seed in ((1, 3), (2, 4)):
        film = pictures(tmp_path / "films" / f"stream-000{number}.mp4")
        assert digest(film) == film_of(tiny_engine, tmp_path / f"plain-{number}.mp4", seed)
    seen = frames_of(got[0])
    assert len(seen) >= 192 - 9  # the viewer may have come after the first block
    assert digest(seen) == digest(frames_of(plain_viewer(tiny_engine))[-len(seen) :])
    assert counters["retries"]["late"] >= 1  # the stopped one
    assert counters["moves"] >= 2
    assert counters["remade"] >= 1
    assert counters["longest_pause"] < 90


def test_killed_gateway_continues_its_film(
    tmp_path: Path, tiny_folder: Path, tiny_engine: Engine
) -> None:
    """Replicas are in the gateway's process here, and are killed with it."""
    script = Path(__file__).with_name("local_fleet.py")
    argv = ("serve", "--fleet", "--store", "store", *options(tiny_folder))
    words = [sys.executable, "-m", "tests.streaming.fleet.local_fleet", *map(str, argv)]
    paths = os.pathsep.join((str(script.parents[3]), os.environ.get("PYTHONPATH", "")))
    environ = environment() | {"PYTHONPATH": paths}
    for number in range(3):
        process: Any = subprocess.Popen(
            words, cwd=tmp_path, env=environ, stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            served = Served(process)
            if number == 0:
                assert served.ask("POST", "/streams", JOB)[0] == 201
            if number == 2:
                served.await_that(lambda served=served: served.states() == ["finished"])
            else:
                await_blocks(served, 5)
        finally:
            process.kill()
            process.communicate(timeout=60)
    film = pictures(tmp_path / "films" / "stream-0001.mp4")
    assert digest(film) == film_of(tiny_engine, tmp_path / "plain.mp4", 3)


def options(model: Path) -> tuple[str | Path, ...]:
    return (
        *("--model", model, "--dtype", "float32", "--device", "cpu", "--port", "0"),
        *("--record", "films"),
    )


def await_blocks(served: Served, number: int) -> None:
    """Wait until the first stream has this many blocks; before it runs there is no status of it."""

    def has_blocks() -> bool:
        status, answer, *_ = served.ask("GET", "/streams/1/status")
        return status == 200 and json.loads(answer).get("blocks", 0) >= number

    served.await_that(has_blocks)


def home(served: Served) -> tuple[str, dict[str, Any]]:
    """The replica that has the first stream."""
    replicas = served.json("/fleet")["replicas"].items()
    return next((name, facts) for name, facts in replicas if "stream-0001" in facts["streams"])


def digest(frames: np.ndarray) -> str:
    return hashlib.sha256(frames.tobytes()).hexdigest()


def plain_viewer(engine: Engine) -> bytes:
    """What the page sends of the same stream made by one engine."""
    run = Run(engine, CONFIG)
    feed = KeptFeed(run.plan.video_format, run.plan.blocks.longest_block)
    run.use_outputs([feed])
    with run:
        for _ in run:
            pass
    return feed.sent
