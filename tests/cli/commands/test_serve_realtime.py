"""Sessions over a WebSocket with the server as a process: frames, files, signals."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from websockets.sync.client import ClientConnection, connect

from sana_stream.engine.engine import Engine
from sana_stream.streaming.containers.mp4 import Mp4Fragmenter
from sana_stream.streaming.video_format import EncoderSettings, StreamSpec, VideoFormat

from ...command import pictures, start
from ...examples.test_examples import run as run_example
from .test_serve import Served

FPS = 64  # so that little time passes
ARGV = ("--port", "0", "--dtype", "float32", "--record", "films", "--fps", str(FPS))
NIGHT = {"event_id": "night", "event": {"prompt": "the night falls"}, "transition_chunks": 3}


@pytest.fixture
def served(tmp_path: Path, tiny_folder: Path) -> Iterator[Served]:
    process = start("serve", *ARGV, "--model", tiny_folder, cwd=tmp_path)
    try:
        yield Served(process)
    finally:
        process.kill()
        process.communicate(timeout=120)


@contextmanager
def session(served: Served, **fields: object) -> Iterator[ClientConnection]:
    """Begin a session of a red boat."""
    with connect(address(served), max_size=None, open_timeout=120) as socket:
        send(socket, "session.start", prompt="a red boat", **fields)
        yield socket


def address(served: Served) -> str:
    return f"ws://127.0.0.1:{served._port}/v1/realtime/video"


def send(socket: ClientConnection, kind: str, **fields: object) -> None:
    socket.send(json.dumps({"type": kind, **fields}))


def until(socket: ClientConnection, kind: str) -> dict[str, Any]:
    """Take messages up to one of this type; what follows chunks is left out."""
    while True:
        message = socket.recv(120)
        if isinstance(message, str) and (fields := json.loads(message))["type"] == kind:
            return fields


def decoded(video: bytes) -> np.ndarray:
    with av.open(io.BytesIO(video), "r") as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def expected(engine: Engine, seed: int, switch: int, frames: int) -> np.ndarray:
    """What a client decodes of a session that blends from block `switch` on."""
    spec = StreamSpec(VideoFormat(48, 32, FPS), EncoderSettings("h264"))
    fragmenter, made, count = Mp4Fragmenter(spec), b"", 0
    stream = engine.session("a red boat", seed=seed)
    while count < frames:
        if stream.next_index == switch:
            stream.switch("the night falls", transition_blocks=2)
        block = next(stream)
        count += len(block.frames)
        made += fragmenter.fragment(block)
    return decoded(fragmenter.init + made)[:frames]


def test_frames_are_those_of_a_plain_run_and_of_the_recording(
    served: Served, tmp_path: Path, tiny_engine: Engine
) -> None:
    chunks, video, fields = [], b"", {}
    with session(served, seed=5, seconds=1.25) as socket:
        for message in socket:
            if isinstance(message, bytes):
                video += message
                continue
            fields = json.loads(message)
            if fields["type"] == "video.chunk_metadata":
                chunks.append(fields)
                if len(chunks) == 2:
                    send(socket, "session.interaction", interaction=NIGHT)
        assert fields == {**fields, "type": "session.done", "chunks": len(chunks), "stopped": False}
    assert [chunk["generation_chunk_index"] for chunk in chunks] == list(range(10))
    begun = [n for n, chunk in enumerate(chunks) if chunk["started_event_ids"]]
    active = [n for n, chunk in enumerate(chunks) if chunk["active_event_ids"]]
    completed = [n for n, chunk in enumerate(chunks) if chunk["completed_event_ids"]]
    switch = begun[0]
    assert (begun, completed) == ([switch], [switch + 2])
    assert active == [switch, switch + 1, switch + 2]
    shown = decoded(video)
    assert np.array_equal(shown, expected(tiny_engine, 5, switch, 80))
    served.await_that(lambda: served.states() == ["finished"])
    assert np.array_equal(shown, pictures(tmp_path / "films" / "stream-0001.mp4"))


def test_sessions_end_with_their_client_or_with_the_server(
    served: Served, tmp_path: Path, tiny_folder: Path
) -> None:
    with session(served) as first:
        assert until(first, "video.start")["config"]["width"] == 48
        until(first, "video.chunk_metadata")
        assert served.json("/streams/1/status")["state"] == "running"
        with session(served, seed=1) as second:
            assert until(second, "session.queued")["place"] == 1
            first.socket.close()  # as the system does for a client that is killed
            until(second, "video.start")
            assert served.states() == ["cancelled", "running"]
            until(second, "video.chunk_metadata")
            served.process.send_signal(signal.SIGTERM)
            assert until(second, "session.done")["stopped"]
    assert served.process.wait(120) == 128 + signal.SIGTERM
    films = tmp_path / "films"
    assert sorted(film.name for film in films.glob("*.mp4")) == [
        "stream-0001.mp4",
        "stream-0002.mp4",
    ]
    assert len(pictures(films / "stream-0002.mp4")) % 8 == 1, "whole blocks"
    assert not list(films.glob("*.job.json")), "the next server does not continue them"


def test_settings_of_a_session_are_those_of_its_stream(served: Served) -> None:
    asked = {"width": 64, "height": 48, "fps": 32, "num_frames": 5, "model": "tiny"}
    with session(served, **asked, num_inference_steps=2, negative_prompt="fog") as socket:
        refused = until(socket, "error")
        assert refused["code"] == "invalid_request"
        assert "guidance" in refused["message"]
    with session(served, **asked, num_inference_steps=2, guidance_scale=4) as socket:
        config = until(socket, "video.start")["config"]
        assert config == {**config, **asked, "num_inference_steps": 2, "guidance_scale": 4}
        video = b"".join(part for part in socket if isinstance(part, bytes))
    assert decoded(video).shape == (5, 48, 64, 3)
    with session(served, width=33, height=48) as socket:
        assert until(socket, "error")["code"] == "invalid_request"


def test_the_example_saves_a_video(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_example("realtime_client", tmp_path / "live.mp4", address(served))
    saved, recorded = (pictures(tmp_path / name) for name in ("live.mp4", "films/stream-0001.mp4"))
    assert np.array_equal(saved, recorded)
    printed = capsys.readouterr().out
    assert printed.endswith("session.done\n")
    assert printed.count("started: ['night']") == printed.count("completed: ['night']") == 1
    assert printed.count("active: ['night']") == 3
