"""The command lines of the guides on outputs and live control, each run unchanged."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import av
import pytest

from sana_stream.cli.options import Options
from sana_stream.cli.parser import build_parser
from sana_stream.cli.run_config import run_config

from ..command import environment
from ..ports import await_taken, free_port
from ..programs import need
from ..streaming.outputs.test_audio import write_sound
from ..streaming.outputs.whip_receiver import missing, whip_receiver

pytestmark = pytest.mark.programs
HERE = Path(__file__).parent
GUIDES = [HERE.parents[1] / "examples" / "guides" / name for name in ("outputs.md", "live.md")]
FRAMES = 81  # in the fake model's five blocks
TIMEOUT_SECONDS = 120  # generous, for a busy machine
LOST = 17  # frames that srt may lose at its end
RECEIVERS = {  # udp ends by timeout, and its receiver must listen before the stream starts
    "rtmp": ["-listen", "1", "-f", "flv", "-i", "rtmp://127.0.0.1:{port}/live/key"],
    "srt": ["-f", "mpegts", "-i", "srt://127.0.0.1:{port}?mode=listener"],
    "udp": ["-f", "mpegts", "-i", "udp://127.0.0.1:{port}?timeout=15000000"],
    "tcp": ["-f", "mpegts", "-i", "tcp://127.0.0.1:{port}"],
}


def streaming_lines(program: str = "sana-stream") -> list[str]:
    """Return the lines of the guides' shell blocks that start with a program's name."""
    text = "\n".join(guide.read_text("utf-8") for guide in GUIDES)
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith(program)]


LINES = streaming_lines()
PIPES = [line for line in LINES if "|" in line]
WHIP = [line for line in LINES if "whip://" in line]
ADDRESSES = [line for line in LINES if "://" in line and line not in WHIP]
FILES = [line for line in LINES if line not in PIPES + ADDRESSES and "--endless" in line]
LIVE = [line for line in LINES if line not in PIPES + ADDRESSES + WHIP + FILES]


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """An environment where `sana-stream` is the fake model and players need no screen."""
    tools = tmp_path / "tools"
    tools.mkdir()
    program = tools / "sana-stream"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE / "fake_model_cli.py"}" "$@"\n')
    program.chmod(0o755)
    (tools / "mpv.conf").write_text("vo=null\nao=null\nuntimed=yes\n")
    (tmp_path / "story.txt").write_text("a red boat\n0:02 night falls\n")
    return environment() | {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "MPV_HOME": str(tools),
        "SDL_VIDEODRIVER": "dummy",
        "SDL_AUDIODRIVER": "dummy",
    }


def count(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.parametrize("line", PIPES)
def test_pipe_makes_all_frames(tmp_path: Path, shell: dict[str, str], line: str) -> None:
    need("bash", *(tool for tool in ("ffplay", "ffmpeg", "mpv") if re.search(rf"\b{tool}\b", line)))
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=tmp_path,
        env=shell,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert b"rror" not in done.stderr.replace(b"Error resilience", b""), done.stderr
    written = re.findall(r"(\w+\.(?:mkv|mp4|webm))\b", line)
    assert [count(tmp_path / name) for name in written] == [FRAMES] * len(written)


@contextmanager
def receiver(scheme: str, port: int, out: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run ffmpeg, writing the stream it receives into a file."""
    source = [word.format(port=port) for word in RECEIVERS[scheme]]
    command = ["ffmpeg", "-v", "error", "-nostdin", *source, "-c:v", "copy", "-y", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=TIMEOUT_SECONDS)


@pytest.mark.parametrize("line", ADDRESSES)
def test_address_receives_the_stream(tmp_path: Path, shell: dict[str, str], line: str) -> None:
    need("bash", "ffmpeg")
    address = re.search(r"(\w+)://127.0.0.1:(\d+)", line)
    assert address is not None
    scheme, port, out = address[1], free_port(), tmp_path / "received.mkv"
    command = ["bash", "-c", line.replace(address[2], str(port))]
    kind = socket.SOCK_STREAM if scheme in ("rtmp", "tcp") else socket.SOCK_DGRAM
    sender = None
    try:
        if "listen" in line:
            sender = subprocess.Popen(command, cwd=tmp_path, env=shell, stderr=subprocess.PIPE)
            await_taken(port, kind)
        with receiver(scheme, port, out) as received:
            if sender is None:
                await_taken(port, kind)
                sender = subprocess.Popen(command, cwd=tmp_path, env=shell, stderr=subprocess.PIPE)
            _, said = sender.communicate(timeout=TIMEOUT_SECONDS)
            assert sender.returncode == 0, said
            received.wait(TIMEOUT_SECONDS)
    finally:
        if sender is not None:
            sender.kill()
            sender.communicate(timeout=TIMEOUT_SECONDS)
    assert count(out) >= FRAMES - (LOST if scheme == "srt" else 0)
    if "story.mp4" in line:
        assert count(tmp_path / "story.mp4") == FRAMES


@pytest.mark.skipif(bool(missing()), reason=str(missing()))
def test_whip_endpoint_receives_the_stream(tmp_path: Path, shell: dict[str, str]) -> None:
    need("bash")
    (line,) = WHIP
    write_sound(tmp_path / "music.mp3")
    with whip_receiver() as receiver:
        command = ["bash", "-c", line.replace(":8889", f":{receiver.port}")]
        subprocess.run(command, cwd=tmp_path, env=shell, check=True, timeout=TIMEOUT_SECONDS)
        assert sum(packet["marker"] for packet in receiver.packets("video")) == FRAMES
        assert receiver.packets("audio")


def test_segments_and_playlist_have_all_frames(tmp_path: Path, shell: dict[str, str]) -> None:
    need("bash")
    playlist, row = FILES
    for line in (playlist, row.replace("1h", "2s")):
        subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=shell, check=True, timeout=TIMEOUT_SECONDS
        )
    assert count(tmp_path / "live" / "live.m3u8") == FRAMES
    parts = sorted(tmp_path.glob("story-*.mp4"))
    assert [part.name for part in parts] == [f"story-{n:04}.mp4" for n in (1, 2, 3)]
    assert [count(part) for part in parts] == [33, 32, 16]


def await_stream(port: str) -> None:
    """Wait for the stream: a server prints its address before the stream exists."""
    until = time.monotonic() + TIMEOUT_SECONDS
    state = "empty"
    while state == "empty":
        assert time.monotonic() < until, "no stream begins"
        with closing(HTTPConnection("127.0.0.1", int(port), timeout=TIMEOUT_SECONDS)) as connection:
            connection.request("GET", "/status")
            state = json.load(connection.getresponse())["state"]


@pytest.mark.parametrize("line", [*streaming_lines("curl"), *streaming_lines("mpv http")])
def test_scripts_and_players_read_the_page(
    tmp_path: Path, shell: dict[str, str], line: str
) -> None:
    need("bash", line.split()[0])
    port = str(free_port())
    server = HERE.parent / "streaming" / "page_server.py"
    command = [sys.executable, str(server), "--port", port, "--blocks", "4"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        assert process.stderr
        assert process.stderr.readline().startswith(b"at http://127.0.0.1:" + port.encode())
        assert ":8765/" in line
        await_stream(port)
        done = subprocess.run(
            ["bash", "-c", line.replace(":8765/", f":{port}/").replace("curl", "curl -fsS", 1)],
            cwd=tmp_path,
            env=shell,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
        )
    finally:
        process.kill()
        process.communicate(timeout=TIMEOUT_SECONDS)
    assert done.returncode == 0, done.stderr
    expected = {"/prompt": b"fog comes in", "/command": b"ok", "/status": b'"title":"A harbour"'}
    for path, answer in expected.items():
        assert path not in line or answer in done.stdout


def test_guide_lines_are_found() -> None:
    assert [len(lines) for lines in (PIPES, ADDRESSES, FILES, LIVE)] == [5, 4, 2, 3]
    assert [len(streaming_lines(word)) for word in ("curl", "mpv http")] == [3, 1]


def test_live_streams_have_their_own_lines() -> None:
    import shlex

    found = [Options.of(build_parser("").parse(shlex.split(line)[1:])) for line in LIVE]
    assert [(o.interactive, o.watch, o.web) for o in found] == [
        (True, False, None),
        (False, True, None),
        (False, False, 8765),
    ]
    assert all(run_config(o).paced and o.length.endless for o in found)
