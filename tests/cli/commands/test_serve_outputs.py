"""A server whose streams have sound and whose recordings are signed, or not marked."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from ...certificates import check_credentials, write_certificate
from ...command import run, start
from ...streaming.outputs.test_audio import write_sound

TIMEOUT_SECONDS = 120


class Served:
    """A running server and an HTTP client of it."""

    def __init__(self, process: Any, lines: int) -> None:
        self.lines = [process.stderr.readline().decode() for _ in range(lines)]
        self.port = int(self.lines[-1].rpartition(":")[2].strip("/\n"))

    def ask(self, method: str, path: str, body: object = None) -> bytes:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)) as connection:
            words = {"Content-Type": "application/json"}
            connection.request(method, path, json.dumps(body), words)
            return connection.getresponse().read()

    def status(self) -> dict[str, Any]:
        return json.loads(self.ask("GET", "/status"))


def await_that(what: Callable[[], bool]) -> None:
    until = time.monotonic() + TIMEOUT_SECONDS
    while not what():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)


@contextmanager
def serving(folder: Path, model: Path, *more: str | Path, lines: int = 1) -> Iterator[Served]:
    words = ("serve", "--port", "0", "--model", model, "--record", "films")
    process = start(*words, *more, cwd=folder)
    try:
        yield Served(process, lines)
    finally:
        process.kill()
        process.communicate(timeout=TIMEOUT_SECONDS)


def sound_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def test_recordings_have_sound_and_are_signed(tmp_path: Path, tiny_folder: Path) -> None:
    certificate = write_certificate(tmp_path / "sign.pem")
    write_sound(tmp_path / "a.wav")
    with serving(tmp_path, tiny_folder, "--audio", "a.wav", "--sign", certificate) as served:
        served.ask("POST", "/streams", {"story": "the moon", "seconds": 1, "seed": 5})
        await_that(lambda: served.status()["state"] == "finished")
        assert served.status()["mime"].endswith(',mp4a.40.2"')
        (path := tmp_path / "download.mp4").write_bytes(served.ask("GET", "/download"))
    manifest = check_credentials(path, 16)
    facts = {each["label"]: each["data"] for each in manifest["assertions"]}
    assert facts["io.github.sana-stream.generation"]["prompts"] == ["the moon"]
    assert path.read_bytes() == (tmp_path / "films" / "stream-0001.mp4").read_bytes()
    sound = sound_of(path)
    assert len(sound) / 48000 == pytest.approx(1, abs=0.03)
    assert np.abs(sound).mean() > 0.01


def test_a_stream_is_continued_with_the_sound_that_it_had(
    tmp_path: Path, tiny_folder: Path
) -> None:
    write_sound(tmp_path / "a.wav")
    own = ("--checkpoint-every", "0.1s")
    with serving(tmp_path, tiny_folder, *own, "--audio", "a.wav", "--no-mark", lines=2) as served:
        assert "without the mark" in served.lines[0] or "Act" in served.lines[0]
        served.ask("POST", "/streams", {"story": "the moon"})
        await_that(lambda: (tmp_path / "films" / "stream-0001.ckpt").exists())
    with serving(tmp_path, tiny_folder, *own) as served:
        await_that(lambda: served.status().get("blocks", 0) > 3)
        assert served.status()["mime"].endswith(',mp4a.40.2"')
        served.ask("DELETE", "/streams/1")
        await_that(lambda: served.status()["state"] == "finished")
    path = tmp_path / "films" / "stream-0001.mp4"
    with av.open(str(path)) as container:
        frames = sum(1 for _ in container.decode(video=0))
    assert len(sound_of(path)) / 48000 == pytest.approx(frames / 16, abs=0.03)
    assert b"trainedAlgorithmicMedia" not in path.read_bytes()


def test_what_no_recording_can_have_is_refused_at_the_start(
    tmp_path: Path,
    tiny_folder: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.mp3").write_text("no sound")
    Path("text.pem").write_text("no certificate")
    for words, message in (
        (("--audio", "text.mp3"), "audio: text.mp3: "),
        (("--audio", "none.mp3"), "audio: none.mp3: no such file"),
        (("--sign", "text.pem"), "sign: text.pem holds no certificate"),
        (("--sign", "text.pem", "--no-mark"), "leave --no-mark out"),
    ):
        argv = ("serve", "--port", "0", "--model", tiny_folder, "--record", "films", *words)
        assert run(*argv) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert message in line
        assert not Path("films").exists()
