"""Outputs through an ffmpeg child: delivered, refused, killed, frozen, absent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import av
import pytest

from sana_stream.errors import InvalidOutputError, OutputError
from sana_stream.streaming.outputs import addresses, child
from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.outputs.options import OutputOptions
from sana_stream.streaming.video_format import EncoderSettings, StreamSpec, VideoFormat

from ...ports import await_taken, free_port
from ...programs import needs
from ..blocks import HEIGHT, WIDTH, blocks, number_of, pour
from ..http_client import TIMEOUT_SECONDS, await_that

VIDEO = VideoFormat(WIDTH, HEIGHT, 50)
SPEC = StreamSpec(VIDEO)
pytestmark = pytest.mark.programs
needs_ffmpeg = needs("ffmpeg")


def await_number(file: Path) -> int:
    """The number of a process, once it has written it down."""
    await_that(lambda: file.exists() and file.read_text().endswith("\n"), "it has not begun")
    return int(file.read_text())


@needs_ffmpeg
def test_a_reader_gets_the_frames(tmp_path: Path) -> None:
    port, out = free_port(), tmp_path / "out.mkv"
    command = ["ffmpeg", "-v", "error", "-nostdin", "-f", "mpegts"]
    command += ["-i", f"srt://127.0.0.1:{port}?mode=listener", "-c:v", "copy", "-y", str(out)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        await_taken(port, socket.SOCK_DGRAM)
        output = open_output(f"srt://127.0.0.1:{port}?mode=caller&pkt_size=1316", SPEC)
        for block in blocks(4):
            output.write(block)
        output.close()
        server.wait(TIMEOUT_SECONDS)
    finally:
        server.kill()
        server.communicate(timeout=TIMEOUT_SECONDS)
    with av.open(str(out)) as container:
        frames = [number_of(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    assert frames[:49] == list(range(49)), "srt may lose its last packets when it closes"


@needs_ffmpeg
def test_a_refused_connection_says_so_in_ffmpegs_words() -> None:
    output = open_output(f"srt://127.0.0.1:{free_port(socket.SOCK_DGRAM)}?streamid=secret", SPEC)
    with pytest.raises(OutputError, match=r"^srt://127\.0\.0\.1:\d+: .*") as error:
        pour(output)
    output.close()
    assert "secret" not in str(error.value)
    assert "Traceback" not in str(error.value)


def fake_ffmpeg(folder: Path, script: str) -> str:
    """A program called ffmpeg that does what the test needs."""
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def test_a_killed_child_is_noticed_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    script = f'echo $$ >> {tmp_path}/pids; exec cat > "{tmp_path}/got-$$"'
    monkeypatch.setenv("PATH", fake_ffmpeg(tmp_path, script))
    monkeypatch.setattr("sana_stream.streaming.outputs.network._LONGEST_WAIT", 0.0)
    output = open_output("srt://127.0.0.1:9", SPEC, OutputOptions(sole_output=False))
    source = blocks()
    output.write(next(source))
    pids = tmp_path / "pids"
    os.kill(await_number(pids), signal.SIGKILL)
    for block in source:
        output.write(block)
        if len(caplog.messages) >= 2 or block.index > 5000:
            break
    output.write(next(source))
    output.close()
    assert "srt://127.0.0.1:9: " in caplog.messages[0]
    assert "trying again" in caplog.messages[0]
    assert "connected again" in caplog.messages[1]
    second = tmp_path / f"got-{pids.read_text().split()[1]}"
    with av.open(str(second)) as container:
        frames = [number_of(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    assert frames == list(range(frames[0], frames[0] + len(frames)))
    assert (frames[0] - 17) % 16 == 0


def test_a_frozen_child_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", fake_ffmpeg(tmp_path, f"echo $$ > {tmp_path}/pid; kill -STOP $$"))
    monkeypatch.setattr(addresses, "TIMEOUT", 0.5)
    output, source = open_output("srt://127.0.0.1:9", SPEC), blocks()
    output.write(next(source))
    number = await_number(tmp_path / "pid")
    with pytest.raises(OutputError, match=r"srt://127\.0\.0\.1:9: .*accepted no data for 0\.5 s"):
        pour(output, source)
    output.close()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_a_child_that_does_not_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"echo $$ > {tmp_path}/pid; cat > /dev/null; exec sleep 1000"
    monkeypatch.setenv("PATH", fake_ffmpeg(tmp_path, script))
    monkeypatch.setattr(child, "CLOSING", 0.3)
    output = open_output("srt://127.0.0.1:9", SPEC)
    output.write(next(blocks()))
    number = await_number(tmp_path / "pid")
    with pytest.raises(OutputError, match="ffmpeg did not end within"):
        output.close()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


@pytest.mark.parametrize("scheme", ["srt", "rist"])
def test_without_ffmpeg_the_message_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        InvalidOutputError, match=f"{scheme}:// needs the program ffmpeg, which is not inst"
    ):
        open_output(f"{scheme}://127.0.0.1:9000", SPEC)


@needs_ffmpeg
def test_settings_that_a_protocol_does_not_take() -> None:
    with pytest.raises(InvalidOutputError, match="codec 'vp9': srt takes h264, h265"):
        open_output("srt://127.0.0.1:9", StreamSpec(VIDEO, EncoderSettings("vp9")))
    with pytest.raises(
        InvalidOutputError, match="container 'nut': srt has a container of its own; leave"
    ):
        open_output("srt://127.0.0.1:9", SPEC, OutputOptions(container="nut"))
