"""A server as its operator sees it: ready or not, what it counts, and how it ends."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ...command import pictures, run, start
from .test_serve import Served

KEY = "key-of-a-program-1"


@contextmanager
def serving(
    folder: Path, model: Path, *argv: str, hold: int | None = None
) -> Iterator[tuple[Served, subprocess.Popen[bytes]]]:
    words = ("--port", "0", "--model", model, "--record", "films", "--seed", "3", *argv)
    process = start("serve", *words, cwd=folder, hold=hold)
    try:
        yield Served(process), process
    finally:
        process.kill()
        process.communicate(timeout=120)


def counts(served: Served) -> dict[str, float]:
    text = served.ask("GET", "/metrics")[1].decode()
    return {
        sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.name.startswith("sana_stream")
    }


def test_server_is_ready_once_the_model_is_loaded_and_counts_what_it_makes(
    tmp_path: Path, tiny_folder: Path
) -> None:
    with serving(tmp_path, tiny_folder, hold=-1) as (served, _):
        code, answer = served.ask("GET", "/ready")
        assert (code, json.loads(answer)["reason"]) == (503, "the model is being loaded")
        assert served.ask("GET", "/health")[0] == 200
        assert counts(served)["sana_stream_ready"] == 0
        (tmp_path / "release").touch()
        served.await_that(lambda: served.ask("GET", "/ready")[0] == 200)
        for seconds in (1, 2):
            order = {"story": "a red boat", "seconds": seconds}
            assert served.ask("POST", "/streams", order)[0] == 201
        served.await_that(lambda: served.states() == ["finished"] * 2)
        found = counts(served)
        films = [tmp_path / "films" / f"stream-000{number}.mp4" for number in (1, 2)]
        blocks = sum(served.json(f"/streams/{number}/status")["blocks"] for number in (1, 2))
    assert found["sana_stream_ready"] == 1
    assert found["sana_stream_blocks_total"] == blocks
    assert found["sana_stream_frames_total"] == sum(len(pictures(film)) for film in films) == 48
    assert found["sana_stream_video_seconds_total"] == 3
    assert found["sana_stream_recorded_bytes_total"] == sum(film.stat().st_size for film in films)
    assert found["sana_stream_streams_started_total"] == 2
    assert found["sana_stream_streams_ended_total{finished}"] == 2
    assert found["sana_stream_block_seconds_count"] == blocks
    stages = {s: found[f"sana_stream_stage_seconds_total{{{s}}}"] for s in ("denoise", "decode")}
    stages |= {s: found[f"sana_stream_stage_seconds_total{{{s}}}"] for s in ("encode", "record")}
    assert all(0 < seconds < 60 for seconds in stages.values()), stages
    assert found["sana_stream_http_requests_total{POST}{/streams}{201}"] == 2


def test_signal_ends_readiness_first_and_then_the_streams(
    tmp_path: Path, tiny_folder: Path
) -> None:
    """The block that is being made is finished; viewers get it, and the end of the stream."""
    with serving(tmp_path, tiny_folder, "--prompt", "a fox", hold=3) as (served, process):
        served.await_that(lambda: (tmp_path / "held").exists())
        port = served._port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.request("GET", "/live.mp4")
        answer, received = connection.getresponse(), bytearray()
        viewer = Thread(target=lambda: received.extend(answer.read()))
        viewer.start()
        process.send_signal(signal.SIGTERM)
        served.await_that(lambda: served.ask("GET", "/ready")[0] == 503)
        assert b"the server is shutting down" in served.ask("GET", "/ready")[1]
        assert served.ask("GET", "/health")[0] == 200
        code, reason = served.ask("POST", "/streams", {"story": "late"})
        assert (code, reason) == (503, b"the server is shutting down; try again later\n")
        (tmp_path / "release").touch()
        assert process.wait(120) == 128 + signal.SIGTERM
        viewer.join(30)
        assert not viewer.is_alive()
    film = pictures(tmp_path / "films" / "stream-0001.mp4")
    assert len(film) % 8 == 1  # whole blocks
    assert len(film) >= 4 * 8 + 1
    (tmp_path / "seen.mp4").write_bytes(received)
    assert len(pictures(tmp_path / "seen.mp4")) >= 8


def test_keys_of_a_file_and_of_the_environment(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys").write_text(f"# of the page\n\n{KEY}\n")
    monkeypatch.setenv("SANA_STREAM_API_KEY", "key-of-the-variable")
    options = ("--api-key-file", "keys", "--root-path", "/video")
    with serving(tmp_path, tiny_folder, *options) as (served, _):
        connection = http.client.HTTPConnection("127.0.0.1", served._port, timeout=120)
        for key, code in ((KEY, 200), ("key-of-the-variable", 200), ("wrong", 401)):
            connection.request("GET", "/video/streams", headers={"Authorization": f"Bearer {key}"})
            answer = connection.getresponse()
            assert (answer.status, answer.read()[:2]) == (code, b"[]" if code == 200 else b"th")
        assert served.ask("GET", "/metrics")[0] == 401
        assert served.ask("GET", "/health")[0] == 200


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (("--api-key", "short"), "--api-key: an API key has 16 to 200 ASCII characters"),
        (("--api-key-file", "none"), "--api-key-file none: no such file"),
        (("--api-key-file", "empty"), "--api-key-file empty: there is no key in it"),
        (("--api-key-file", "short"), "--api-key-file short: an API key has 16 to 200"),
        (("--api-key-file", "binary"), "--api-key-file binary: give text"),
        (("--cors-origin", "example.com"), "--cors-origin: 'example.com' is not an origin"),
        (("--root-path", ""), "--root-path: '' is not a root path"),
    ],
)
def test_options_that_cannot_be_used(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    argv: tuple[str, str],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("empty", b"# none\n"), ("short", b"secret"), ("binary", b"\xff\xfe" * 9)):
        (tmp_path / name).write_bytes(text)
    assert run("serve", *argv) == 2
    line = capfd.readouterr().err
    assert reason in line
    assert re.search("secret|Traceback", line) is None
