"""`sana-stream serve --fleet` on Ray with an S3 server: a killed replica costs no frame."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from urllib.request import Request, urlopen

import av
import numpy as np
import pytest

from sana_stream import Engine, Run, RunConfig

from ...cli.commands.test_serve import Served
from ...command import pictures, start

MISSING = [name for name in ("ray", "obstore") if find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason="needs sana-stream[fleet]; `make test-fleet` has it"),
    pytest.mark.skipif(sys.platform != "linux", reason="a replica is killed by its process id"),
]
JOB = {"story": "a red boat\n0:04 the night falls", "seconds": 12, "seed": 3}


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
        connection.request("GET", "/live.mp4")
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


def test_killed_replica_costs_no_frame(
    store: str, tmp_path: Path, tiny_folder: Path, tiny_engine: Engine
) -> None:
    config = RunConfig(
        str(JOB["story"]),
        [tmp_path / "plain.mp4"],
        seconds=12,
        seed=3,
        directed=True,
        checkpoint=False,
    )
    with Run(tiny_engine, config) as plain:
        for _ in plain:
            pass
    model = ("--model", tiny_folder, "--dtype", "float32", "--device", "cpu")
    fleet = ("--fleet", "--replicas", "2", "--store", store, "--snapshot-every", "4")
    process = start("serve", *fleet, *model, "--port", "0", "--record", "films", cwd=tmp_path)
    try:
        served, got = Served(process), list[bytes]()
        viewer = Thread(target=watch, args=(served._port, got), daemon=True)
        viewer.start()
        assert served.ask("POST", "/streams", JOB)[0] == 201
        served.await_that(lambda: served.json("/status").get("blocks", 0) > 5)
        used = [r for r in served.json("/fleet")["replicas"].values() if r["streams"]]
        os.kill(int(used[0]["place"].rpartition(":")[2]), signal.SIGKILL)
        served.await_that(lambda: served.states() == ["finished"])
        counters = served.json("/fleet")
        viewer.join(60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.communicate(timeout=60)
    expected = pictures(tmp_path / "plain.mp4")
    film, seen = pictures(tmp_path / "films" / "stream-0000.mp4"), frames_of(got[0])
    assert digest(film) == digest(expected)
    assert len(seen) >= len(expected) - 9  # the viewer may have come after the first block
    assert np.array_equal(seen, frames_of(plain_viewer(tiny_engine))[-len(seen) :])
    assert counters["retries"]["lost"] >= 1
    assert counters["longest_pause"] < 60


def digest(frames: np.ndarray) -> str:
    return hashlib.sha256(frames.tobytes()).hexdigest()


def plain_viewer(engine: Engine) -> bytes:
    """What the page sends of the same stream made by one engine."""
    from .test_gateway import KeptFeed

    config = RunConfig(str(JOB["story"]), ["-"], seconds=12, seed=3, directed=True)
    run = Run(engine, config)
    feed = KeptFeed(run.plan.video_format, run.plan.blocks.longest_block)
    run.use_outputs([feed])
    with run:
        for _ in run:
            pass
    return feed.sent
