"""Sockets: real readers that come, leave, stall and are not there."""

from __future__ import annotations

import io
import re
import socket
import threading
from pathlib import Path

import av
import pytest

from sana_stream.errors import InvalidOutputError, OutputCancelled, OutputError, ReaderDisconnected
from sana_stream.streaming.outputs import addresses
from sana_stream.streaming.outputs.base import redact_url
from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.outputs.options import OutputOptions
from sana_stream.streaming.outputs.sockets import Listener
from sana_stream.streaming.video_format import EncoderSettings, StreamSpec, VideoFormat

from ...ports import free_port
from ..blocks import HEIGHT, WIDTH, blocks, number_of, pour
from ..http_client import TIMEOUT_SECONDS, await_that

VIDEO = VideoFormat(WIDTH, HEIGHT, 200)  # short in time, so that paced outputs are quick
SPEC = StreamSpec(VIDEO)


def shown(data: bytes) -> list[int]:
    with av.open(io.BytesIO(data), "r") as container:
        return [number_of(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


class Reader:
    """A server that takes connections one after the other, and reads `limit` bytes of each."""

    def __init__(self, *limits: int | None, path: str | None = None) -> None:
        if path:
            self.server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.server.bind(path)
            self.server.listen()
        else:
            self.server = socket.create_server(("127.0.0.1", 0))
        self.received: list[bytes] = []
        self.thread = threading.Thread(target=self._serve, args=(limits,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.server.getsockname()[1]}"

    def _serve(self, limits: tuple[int | None, ...]) -> None:
        for limit in limits:
            connection, _ = self.server.accept()
            self.received.append(read_all(connection, limit))
        self.server.close()


def read_all(connection: socket.socket, limit: int | None = None) -> bytes:
    data = b""
    with connection:
        connection.settimeout(TIMEOUT_SECONDS)
        while limit is None or len(data) < limit:
            part = connection.recv(1 << 16)
            if not part:
                break
            data += part
    return data


@pytest.mark.parametrize("container", [None, "matroska", "mp4", "y4m"])
def test_a_tcp_reader_gets_every_frame(container: str | None) -> None:
    reader = Reader(None)
    output = open_output(reader.url, SPEC, OutputOptions(container=container))
    for block in blocks(3):
        output.write(block)
    output.close()
    reader.thread.join(TIMEOUT_SECONDS)
    assert shown(reader.received[0]) == list(range(49))
    assert output.frames == 49


def test_a_reader_on_a_unix_socket(tmp_path: Path) -> None:
    reader = Reader(None, path=f"{tmp_path}/video.sock")
    output = open_output(f"unix://{tmp_path}/video.sock", SPEC)
    for block in blocks(2):
        output.write(block)
    output.close()
    reader.thread.join(TIMEOUT_SECONDS)
    assert shown(reader.received[0]) == list(range(33))


def call(address: object, results: list[bytes], limit: int | None = None) -> threading.Thread:
    """Read from a listening output in the background."""

    def run() -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.connect(address)  # pyright: ignore[reportArgumentType]
        results.append(read_all(connection, limit))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_a_listening_output_waits_for_its_first_reader(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    port = free_port()
    for target, address in (
        (f"tcp://127.0.0.1:{port}?listen", ("127.0.0.1", port)),
        (f"unix://{tmp_path}/out.sock?listen", f"{tmp_path}/out.sock"),
    ):
        received: list[bytes] = []
        output = open_output(target, SPEC)
        timer = threading.Timer(0.2, lambda a=address, r=received: call(a, r))
        timer.start()
        for block in blocks(2):
            output.write(block)
        output.close()
        timer.join()
        await_that(lambda r=received: r, "the reader has got nothing")
        assert shown(received[0]) == list(range(33))
    assert caplog.messages == [
        f"tcp://127.0.0.1:{port}: waiting for a reader",
        f"unix://{tmp_path}/out.sock: waiting for a reader",
    ]
    assert list(tmp_path.iterdir()) == []


def test_the_reader_of_a_listening_output_may_leave() -> None:
    port = free_port()
    output = open_output(f"tcp://127.0.0.1:{port}?listen", SPEC)
    call(("127.0.0.1", port), [], limit=1000)
    with pytest.raises(ReaderDisconnected, match="the reader has disconnected"):
        pour(output)
    output.close()


def test_next_to_others_a_listening_output_takes_the_next_reader(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    output = open_output(f"tcp://127.0.0.1:{port}?listen", SPEC, OutputOptions(sole_output=False))
    first, second = [], []
    call(("127.0.0.1", port), first, limit=1000)
    source = blocks(5000)
    while not caplog.messages:
        output.write(next(source))
    assert "the other outputs continue" in caplog.messages[0]
    thread = call(("127.0.0.1", port), second)
    while len(caplog.messages) < 2:
        output.write(next(source))
    for _ in range(2):
        output.write(next(source))
    output.close()
    thread.join(TIMEOUT_SECONDS)
    assert "connected again" in caplog.messages[1]
    frames = shown(second[0])
    assert len(frames) >= 48, "the block with which it connected and the two after it"
    assert frames == [(frames[0] + n) % 4096 for n in range(len(frames))]


def test_a_lost_reader_is_called_again_at_a_block_boundary(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sana_stream.streaming.outputs.network._LONGEST_WAIT", 0.0)
    reader = Reader(5000, None)
    output = open_output(reader.url, SPEC, OutputOptions(sole_output=False))
    source = blocks(5000)
    while len(caplog.messages) < 2:
        output.write(next(source))
    for _ in range(2):
        output.write(next(source))
    output.close()
    reader.thread.join(TIMEOUT_SECONDS)
    assert "trying again" in caplog.messages[0]
    assert "frames were dropped meanwhile" in caplog.messages[1]
    frames = shown(reader.received[1])
    assert frames == [(frames[0] + n) % 4096 for n in range(len(frames))]
    assert (frames[0] - 17) % 16 == 0, "whole blocks are dropped, never parts"


def test_a_lost_reader_is_the_end_of_the_only_output() -> None:
    reader = Reader(5000)
    output = open_output(reader.url, SPEC)
    with pytest.raises(
        OutputError, match=r"tcp://127\.0\.0\.1:\d+: (broken pipe|connection reset)"
    ):
        pour(output)
    output.close()


@pytest.mark.parametrize(
    ("timeout", "kind", "message"),
    [
        (0.3, OutputError, "the reader accepted no data for 0.3 s"),
        (60.0, OutputCancelled, "the rest is dropped"),
    ],
)
def test_a_stalled_reader(
    monkeypatch: pytest.MonkeyPatch, timeout: float, kind: type[OutputError], message: str
) -> None:
    """Given up after the time-out, or when the run is to stop; other threads continue meanwhile."""
    monkeypatch.setattr(addresses, "TIMEOUT", timeout)
    stop, ticks, done = threading.Event(), [0], threading.Event()

    def tick() -> None:
        while not done.wait(0.005):
            ticks[0] += 1

    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        output = open_output(url, SPEC, OutputOptions(container="rawvideo"), stop=stop)
        threading.Thread(target=tick, daemon=True).start()
        if kind is OutputCancelled:
            threading.Timer(0.2, stop.set).start()
        with pytest.raises(kind, match=re.escape(message)):
            pour(output)
        assert ticks[0] > 10, "the interpreter was held while the output waited"
        output.close()
    done.set()


def test_nobody_comes_and_the_run_is_stopped() -> None:
    stop = threading.Event()
    output = open_output(f"tcp://127.0.0.1:{free_port()}?listen", SPEC, stop=stop)
    threading.Timer(0.1, stop.set).start()
    with pytest.raises(OutputCancelled, match="no reader has connected"):
        output.write(next(blocks()))
    output.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("tcp://127.0.0.1:{port}", r"tcp://127\.0\.0\.1:\d+: connection refused"),
        ("tcp://127.0.0.1", "needs a port, as in tcp://host:9000"),
        ("tcp://127.0.0.1:99999", "needs a port"),
        ("udp://:9000", "has no host; write udp://host:9000"),
        ("unix:///nowhere/video.sock", "no such file or directory"),
        ("unix:///nowhere/video.sock?listen", "no such file or directory"),
        ("tcp://[::1:9000", "this is no address"),
        ("gopher://host:70", "use one of tcp:// unix:// udp://"),
    ],
)
def test_addresses_that_cannot_be(url: str, message: str) -> None:
    with pytest.raises(InvalidOutputError, match=message):
        open_output(url.format(port=free_port()), SPEC)


def test_a_port_that_is_taken() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(InvalidOutputError, match="address already in use"),
    ):
        open_output(f"tcp://127.0.0.1:{server.getsockname()[1]}?listen", SPEC)


def test_settings_that_an_address_does_not_take() -> None:
    with pytest.raises(InvalidOutputError, match="container 'matroska': udp takes mpegts"):
        open_output("udp://127.0.0.1:9", SPEC, OutputOptions(container="matroska"))
    with pytest.raises(InvalidOutputError, match="codec 'vp9': mpegts takes h264, h265"):
        open_output(f"tcp://127.0.0.1:{free_port()}", StreamSpec(VIDEO, EncoderSettings("vp9")))


def test_datagrams_arrive_whole_and_in_time() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(1)
        received: list[bytes] = []
        sent = threading.Event()

        def listen() -> None:
            """Until nothing has come for a second and nothing more will."""
            while True:
                try:
                    received.append(receiver.recv(2000))
                except TimeoutError:
                    if sent.is_set():
                        return

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        output = open_output(f"udp://127.0.0.1:{receiver.getsockname()[1]}", SPEC)
        for block in blocks(3):
            output.write(block)
        output.close()
        sent.set()
        thread.join(TIMEOUT_SECONDS)
    assert max(map(len, received)) == 1316
    assert shown(b"".join(received)) == list(range(49))


def test_datagrams_to_nobody_never_arrived() -> None:
    output = open_output(f"udp://127.0.0.1:{free_port()}", SPEC)
    for block in blocks(3):
        output.write(block)
    with pytest.raises(OutputError, match=r"udp://127.0.0.1:\d+: .*no program listens there"):
        output.close()


def test_datagrams_of_which_some_arrive_are_a_stream() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        output = open_output(f"udp://127.0.0.1:{receiver.getsockname()[1]}", SPEC)
        source = blocks()
        output.write(next(source))
    output.write(next(source))  # the receiver has gone, which a sender need not care about
    output.close()
    assert output.frames == 33


def test_an_address_is_shown_without_its_secrets() -> None:
    assert redact_url("rtmp://me:secret@host:1935/live/secret?secret") == "rtmp://host:1935"
    assert redact_url("unix:///tmp/a.sock?listen") == "unix:///tmp/a.sock"
    assert [redact_url("films/a.mp4"), redact_url("-")] == ["films/a.mp4", "standard output"]
    with pytest.raises(InvalidOutputError) as error:
        open_output("tcp://me:secret@127.0.0.1?key=secret", SPEC)
    assert "secret" not in str(error.value)


def test_a_listener_removes_only_its_own_socket(tmp_path: Path) -> None:
    path = tmp_path / "video.sock"
    listener = Listener.unix(str(path), threading.Event(), 1.0)
    path.unlink()
    other = Listener.unix(str(path), threading.Event(), 1.0)
    listener.close()
    assert path.exists()
    other.close()
    assert not path.exists()


def test_a_listener_says_where_it_is() -> None:
    listener = Listener.tcp("127.0.0.1", 0, threading.Event(), 1.0)
    assert listener.address[0] == "127.0.0.1"
    listener.close()
