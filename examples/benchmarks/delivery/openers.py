"""Every kind of output, opened together with a reader."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from tempfile import TemporaryDirectory

from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.outputs.base import Output
from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.outputs.options import OutputOptions
from sana_stream.streaming.video_format import EncoderSettings, StreamSpec, VideoFormat
from sana_stream.streaming.web.auth import AccessPolicy
from sana_stream.streaming.web.live_feed import LiveFeed
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.server import WebServer
from sana_stream.streaming.web.status import RunStatus

Opener = Callable[[VideoFormat], AbstractContextManager[Output]]
HOST = "127.0.0.1"


def file(name: str, codec: str | None = None) -> Opener:
    """A file output in a temporary folder."""

    @contextmanager
    def opened(video: VideoFormat) -> Iterator[Output]:
        with TemporaryDirectory() as folder:
            yield open_output(f"{folder}/{name}", StreamSpec(video, EncoderSettings(codec)))

    return opened


def pipe(container: str) -> Opener:
    """Standard output, into a pipe with a reader."""

    @contextmanager
    def opened(video: VideoFormat) -> Iterator[Output]:
        reading, writing = os.pipe()

        def read() -> None:
            with open(reading, "rb", buffering=0) as file:
                while file.read(1 << 16):
                    pass

        with background(read):
            yield open_output(
                "-", StreamSpec(video), OutputOptions(container=container), stdout=writing
            )

    return opened


@contextmanager
def tcp(video: VideoFormat) -> Iterator[Output]:
    """A TCP client output, connected to a reader."""
    with socket.create_server((HOST, 0)) as server, background(lambda: drain(server.accept()[0])):
        yield open_output(f"tcp://{HOST}:{server.getsockname()[1]}", StreamSpec(video))


@contextmanager
def tcp_listening(video: VideoFormat) -> Iterator[Output]:
    """A TCP server output, to which a reader connects."""
    port = free_port()
    output = open_output(f"tcp://{HOST}:{port}?listen", StreamSpec(video))
    with background(lambda: drain(socket.create_connection((HOST, port)))):
        yield output


@contextmanager
def unix(video: VideoFormat) -> Iterator[Output]:
    """A Unix domain socket output, connected to a reader."""
    with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/socket")
        server.listen()
        with background(lambda: drain(server.accept()[0])):
            yield open_output(f"unix://{folder}/socket", StreamSpec(video))


@contextmanager
def udp(video: VideoFormat) -> Iterator[Output]:
    """A UDP output with a receiver, which ends after a second without datagrams."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((HOST, 0))
        receiver.settimeout(1)
        with background(lambda: drain(receiver)):
            yield open_output(f"udp://{HOST}:{receiver.getsockname()[1]}", StreamSpec(video))


@contextmanager
def rtmp(video: VideoFormat) -> Iterator[Output]:
    """An RTMP output to an ffmpeg that listens as a server."""
    port = free_port()
    address = f"rtmp://{HOST}:{port}/live/key"
    command = ["ffmpeg", "-v", "quiet", "-nostdin", "-listen", "1", "-f", "flv", "-i", address]
    server = subprocess.Popen([*command, "-f", "null", "-"])
    try:
        wait_until_listening(port)
        yield open_output(address, StreamSpec(video))
    finally:
        server.kill()
        server.wait()


@contextmanager
def page(video: VideoFormat) -> Iterator[Output]:
    """The live page's feed, with one viewer."""
    current, feed = StreamRegistry(), LiveFeed(video)
    current.begin(feed, LiveControl(), RunStatus(video))
    with WebServer(current, AccessPolicy.on(HOST, 0)) as server:

        def view() -> None:
            with urllib.request.urlopen(f"{server.access.url()}live.mp4") as answer:
                while answer.read1(1 << 16):
                    pass

        with background(view):
            yield feed


OPENERS: dict[str, Opener] = {
    "mp4, h264": file("a.mp4"),
    "mp4, h265": file("a.mp4", "h265"),
    "mp4, av1": file("a.mp4", "av1"),
    "mp4, vp9": file("a.mp4", "vp9"),
    "mov, h264": file("a.mov"),
    "mkv, h264": file("a.mkv"),
    "mkv, ffv1": file("a.mkv", "ffv1"),
    "ts, h264": file("a.ts"),
    "ts, h265": file("a.ts", "h265"),
    "webm, vp9": file("a.webm"),
    "webm, av1": file("a.webm", "av1"),
    "y4m": file("a.y4m"),
    "folder of PNG": file("%06d.png"),
    "HLS": file("live.m3u8"),
    "standard output, matroska": pipe("matroska"),
    "standard output, rawvideo": pipe("rawvideo"),
    "standard output, y4m": pipe("y4m"),
    "standard output, nut": pipe("nut"),
    "standard output, flv": pipe("flv"),
    "tcp": tcp,
    "tcp, listening": tcp_listening,
    "unix": unix,
    "udp": udp,
    **({"rtmp": rtmp} if shutil.which("ffmpeg") else {}),
    "page": page,
}


def drain(connection: socket.socket) -> None:
    """Read to the end of the stream."""
    with connection, suppress(TimeoutError):
        while connection.recv(1 << 16):
            pass


def free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        return server.getsockname()[1]


def wait_until_listening(port: int) -> None:
    """Wait until a port is in use, without connecting: the server accepts one connection only."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                return
        time.sleep(0.05)
    raise SystemExit(f"no server listens on port {port}")


@contextmanager
def background(work: Callable[[], object]) -> Iterator[None]:
    """Run a function in a thread, and wait for its end."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield
    thread.join(30)
