"""A stream that did not arrive is no success, on whatever way it was sent, however short it is."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import pytest

from sana_stream.errors import InvalidOutputError, OutputError
from sana_stream.streaming.outputs import addresses
from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.video_format import StreamSpec, VideoFormat

from ...ports import free_port
from ..blocks import HEIGHT, WIDTH, blocks

VIDEO = VideoFormat(WIDTH, HEIGHT, 50)
SPEC = StreamSpec(VIDEO)
Act = Callable[[socket.socket], None]


class Server:
    """Listens on this machine and does one thing with everybody who comes."""

    def __init__(self, act: Act | None, path: Path | None = None) -> None:
        if path is None:
            self.server = socket.create_server(("127.0.0.1", 0))
            self.port = self.server.getsockname()[1]
        else:
            self.server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.server.bind(str(path))
            self.server.listen()
        self.held: list[socket.socket] = []
        if act is not None:
            threading.Thread(target=self._serve, args=(act,), daemon=True).start()

    def _serve(self, act: Act) -> None:
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            self.held.append(connection)
            threading.Thread(target=act, args=(connection,), daemon=True).start()


def close(connection: socket.socket) -> None:
    connection.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def reset_at_data(connection: socket.socket) -> None:
    """Reset it once something has come: an earlier reset can reach a client that still connects."""
    connection.recv(1)
    reset(connection)


def take_a_little(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.close()


def read_nothing(connection: socket.socket) -> None:
    """Keep it open."""


def read_late(connection: socket.socket) -> None:
    time.sleep(0.5)
    read_all(connection)


def read_all(connection: socket.socket) -> None:
    while connection.recv(1 << 16):
        pass
    connection.close()


def play(connection: socket.socket) -> None:
    """Read everything and show the last picture for ever."""
    while connection.recv(1 << 16):
        pass


def send(address: str, count: int = 1) -> None:
    """Deliver `count` blocks; one of them fits into any buffer."""
    output = open_output(address, SPEC)
    try:
        for block in blocks(count):
            output.write(block)
    finally:
        output.close()


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "TIMEOUT", 2.0)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("act", [close, reset, take_a_little, read_nothing, None])
def test_a_reader_that_does_not_take_it(tmp_path: Path, kind: str, act: Act | None) -> None:
    path = tmp_path / "video.sock"
    server = Server(act, path if kind == "unix" else None)
    address = f"unix://{path}" if kind == "unix" else f"tcp://127.0.0.1:{server.port}"
    with pytest.raises(OutputError, match=rf"^{kind}://.*: \w+"):
        send(address)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("act", [read_all, read_late, play])
def test_a_reader_that_takes_it(tmp_path: Path, kind: str, act: Act) -> None:
    path = tmp_path / "video.sock"
    server = Server(act, path if kind == "unix" else None)
    send(f"unix://{path}" if kind == "unix" else f"tcp://127.0.0.1:{server.port}")


@pytest.fixture
def ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A static ffmpeg on the path, and nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.mark.usefixtures("ffmpeg")
def test_nobody_at_the_address() -> None:
    port = free_port(socket.SOCK_DGRAM)
    with pytest.raises(OutputError, match=rf"^srt://127\.0\.0\.1:{port}: .*has not arrived"):
        send(f"srt://127.0.0.1:{port}/live/secret-key?pass=secret-pass")


@pytest.mark.parametrize("scheme", ["rtmp", "http"])
@pytest.mark.parametrize("act", [close, reset])
def test_a_server_that_hangs_up(scheme: str, act: Act) -> None:
    with pytest.raises((OutputError, InvalidOutputError)) as error:
        send(f"{scheme}://127.0.0.1:{Server(act).port}/live/secret-key?pass=secret-pass", 4)
    assert "secret" not in str(error.value)
    assert str(error.value).isprintable()


def test_the_last_seconds_of_a_child_are_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child plays in real time: a pipe may hold more than it may take to close."""
    monkeypatch.setattr("sana_stream.streaming.outputs.child.CLOSING", 1.0)
    got: list[bytes] = []

    def keep(connection: socket.socket) -> None:
        while not (got and got[-1].endswith(b"0\r\n\r\n")):
            got.append(connection.recv(1 << 16))
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        connection.close()

    output = open_output(
        f"http://127.0.0.1:{Server(keep).port}/in", StreamSpec(VideoFormat(WIDTH, HEIGHT, 10))
    )
    for block in blocks(2):  # 3.3 seconds
        output.write(block)
    output.close()
    assert b"".join(got).endswith(b"\r\n0\r\n\r\n"), "the body has not come to its end"
