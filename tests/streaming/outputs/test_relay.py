"""Streams through a process of their own: RTMP, HTTP and WHIP, lost, refused and taken up again."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path

import av
import psutil
import pytest

from sana_stream.errors import InvalidOutputError, OutputCancelled, OutputError
from sana_stream.streaming.audio import AudioLoop, AudioTrack
from sana_stream.streaming.outputs import addresses, child, network, relay, relay_protocols
from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.outputs.options import OutputOptions
from sana_stream.streaming.outputs.pump import OutputPump
from sana_stream.streaming.outputs.relay_muxer import RelayMuxer
from sana_stream.streaming.video_format import EncoderSettings, StreamSpec, VideoFormat

from ...certificates import write_certificate
from ...ports import await_taken, free_port
from ...programs import needs
from ..blocks import HEIGHT, WIDTH, blocks, number_of, pour
from ..http_client import TIMEOUT_SECONDS, await_that
from .test_audio import write_sound
from .whip_receiver import Receiver, missing, whip_receiver

FPS = 50
VIDEO = VideoFormat(WIDTH, HEIGHT, FPS)
SPEC = StreamSpec(VIDEO)
pytestmark = pytest.mark.programs
needs_ffmpeg = needs("ffmpeg")
needs_receiver = pytest.mark.skipif(bool(missing()), reason=str(missing()))


@pytest.fixture(scope="module")
def track(tmp_path_factory: pytest.TempPathFactory) -> AudioTrack:
    return AudioTrack(AudioLoop(write_sound(tmp_path_factory.mktemp("sound") / "a.wav")))


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_LONGEST_WAIT", 0.0)


@contextmanager
def listening(scheme: str, port: int, out: Path) -> Iterator[subprocess.Popen[str]]:
    """An ffmpeg that receives one stream into a file."""
    form, path = {"rtmp": ("flv", "/live/key"), "http": ("mpegts", "/in")}[scheme]
    source = ["-listen", "1", "-f", form, "-i", f"{scheme}://127.0.0.1:{port}{path}"]
    command = ["ffmpeg", "-v", "error", "-nostdin", *source, "-c", "copy", "-y", str(out)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        await_taken(port, socket.SOCK_STREAM)
        yield server
    finally:
        server.kill()
        server.communicate(timeout=TIMEOUT_SECONDS)


def frames_of(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [number_of(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def children() -> list[psutil.Process]:
    found = psutil.Process().children()
    return [each for each in found if "relay_process" in " ".join(each.cmdline())]


class Endpoint:
    """An HTTP server that answers everything with one status, and keeps what it got."""

    def __init__(self, status: int) -> None:
        self.body = b""
        endpoint = self
        self.requests: list[tuple[str, str, str | None]] = []
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                requests.append((self.command, self.path, self.headers["authorization"]))
                if status < 400 or "?late" in self.path:
                    while size := int(self.rfile.readline(), 16):
                        endpoint.body += self.rfile.read(size + 2)[:-2]
                self.send_response(status)
                self.end_headers()

            def log_message(self, format: str, *_: object) -> None:  # noqa: A002
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@needs_ffmpeg
@pytest.mark.parametrize("scheme", ["rtmp", "http"])
def test_a_server_gets_every_frame_and_the_sound(
    tmp_path: Path, track: AudioTrack, scheme: str
) -> None:
    port, out = free_port(), tmp_path / "out.mkv"
    path = {"rtmp": "/live/key", "http": "/in"}[scheme]
    with listening(scheme, port, out) as server:
        spec = StreamSpec(VIDEO, audio=track)
        output = open_output(f"{scheme}://127.0.0.1:{port}{path}", spec)
        pour(output, blocks(4))
        output.close()
        server.wait(TIMEOUT_SECONDS)
    assert frames_of(out) == list(range(65))
    with av.open(str(out)) as container:
        packets = [p for p in container.demux(audio=0) if p.pts is not None]
    times = [float((p.pts or 0) * (p.time_base or 0)) for p in packets]
    assert times[-1] - times[0] == pytest.approx(65 / FPS - 1024 / 48000, abs=0.025)
    steps = {round(b - a, 2) for a, b in pairwise(times)}
    assert steps == {0.02}, "no gap between blocks"


@needs_ffmpeg
def test_the_file_is_complete_where_the_child_was_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port, file = free_port(), tmp_path / "a.mp4"
    address = f"rtmp://127.0.0.1:{port}/live/secret-key"
    with listening("rtmp", port, tmp_path / "first.mkv") as first:
        outputs = [
            open_output(file, SPEC),
            open_output(address, SPEC, OutputOptions(sole_output=False)),
        ]
        source, count, pump = blocks(), 2, OutputPump(outputs)
        pump.write(next(source))
        await_that(lambda: outputs[1].frames, "nothing was sent")
        children()[0].send_signal(signal.SIGKILL)
        first.wait(TIMEOUT_SECONDS)
        pump.write(next(source))
    with listening("rtmp", port, tmp_path / "second.mkv") as second:
        while not any("connected again" in line for line in caplog.messages):
            pump.write(next(source))
            count += 1
            assert count < 5000
        pump.close()
        second.wait(TIMEOUT_SECONDS)
    lost = next(line for line in caplog.messages if "trying again" in line)
    assert f"rtmp://127.0.0.1:{port}: " in lost
    assert "secret" not in caplog.text
    assert frames_of(file) == [number % 4096 for number in range(1 + 16 * count)]
    again = frames_of(tmp_path / "second.mkv")
    assert again == [number % 4096 for number in range(again[0], again[0] + len(again))]
    assert (again[0] - 1) % 16 == 0, "it begins with a block"


@pytest.mark.parametrize("scheme", ["rtmps", "https", "whip"])
def test_a_refused_connection_is_one_line_before_anything_is_made(scheme: str) -> None:
    port = free_port()
    address = f"{scheme}://user:secret@127.0.0.1:{port}/live/secret-key?pass=secret-pass"
    with pytest.raises(InvalidOutputError) as error:
        open_output(address, SPEC)
    assert str(error.value) == f"{scheme}://127.0.0.1:{port}: connection refused"
    assert not children()


def test_a_name_without_an_address_is_reported_as_such() -> None:
    with pytest.raises(InvalidOutputError, match=r"^rtmp://nobody\.invalid: .*(name|known)"):
        open_output("rtmp://nobody.invalid/live/key", SPEC)


@pytest.mark.parametrize(("status", "said"), [(401, "401 unauthorized"), (404, "404 not found")])
def test_an_endpoint_that_refuses_is_reported(
    status: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = Endpoint(status)
    monkeypatch.setenv(relay_protocols.TOKEN_VARIABLE, "of-the-environment")
    with pytest.raises(InvalidOutputError) as error:
        open_output(f"http://127.0.0.1:{endpoint.port}/live?whip&room=1", SPEC)
    with pytest.raises(InvalidOutputError):
        open_output(f"whip://s%20ecret@127.0.0.1:{endpoint.port}/live", SPEC)
    assert said in str(error.value)
    assert "ecret" not in str(error.value)
    assert endpoint.requests == [
        ("POST", "/live?room=1", "Bearer of-the-environment"),
        ("POST", "/live", "Bearer s ecret"),
    ]


def test_a_server_that_refuses_a_body_is_reported() -> None:
    endpoint = Endpoint(403)
    with pytest.raises(InvalidOutputError, match=r"^http://.*: server returned 403 forbidden$"):
        open_output(f"http://user:pass@127.0.0.1:{endpoint.port}/in", SPEC)
    assert endpoint.requests == [("POST", "/in", "Basic dXNlcjpwYXNz")]
    output = open_output(f"http://127.0.0.1:{endpoint.port}/in?late", SPEC)
    pour(output, blocks(1))
    with pytest.raises(OutputError, match="server returned 403 forbidden"):
        output.close()
    taking = Endpoint(201)
    output = open_output(f"http://127.0.0.1:{taking.port}/in", SPEC)
    pour(output, blocks(1))
    output.close()
    with av.open(io.BytesIO(taking.body), "r") as container:
        assert sum(1 for _ in container.decode(video=0)) == 17


def test_a_certificate_that_nobody_has_issued_is_refused(tmp_path: Path) -> None:
    (both := tmp_path / "both.pem").write_bytes(write_certificate(tmp_path / "a.pem").read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = server.accept()
        with suppress(OSError):
            context.wrap_socket(connection, server_side=True)

    threading.Thread(target=serve, daemon=True).start()
    with pytest.raises(InvalidOutputError, match=r"^https://[^ ]*: .*certificate"):
        open_output(f"https://127.0.0.1:{server.getsockname()[1]}/in", SPEC)


def test_an_endpoint_without_an_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "_CONNECTING", 0.3)
    silent = socket.create_server(("127.0.0.1", 0))
    address = f"whip://127.0.0.1:{silent.getsockname()[1]}/live"
    with pytest.raises(InvalidOutputError, match="no answer within"):
        open_output(address, SPEC)
    assert not children()


def test_a_connection_that_was_not_used_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may have given it up, while the model was loaded."""
    monkeypatch.setitem(
        relay_protocols.PROTOCOLS, "http", relay_protocols.Protocol("mpegts", idle=0.1)
    )
    server = socket.create_server(("127.0.0.1", 0))
    got: list[bytes] = []

    def serve() -> None:
        for _ in range(2):
            connection, _ = server.accept()
            with connection.makefile("rb") as file:
                got.append(file.read())
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    output = open_output(f"http://127.0.0.1:{server.getsockname()[1]}/in", SPEC)
    children()[0].wait(TIMEOUT_SECONDS)
    pour(output, blocks(2))
    output.close()
    thread.join(TIMEOUT_SECONDS)
    assert got[0].endswith(b"\r\n\r\n"), "only the head"
    assert got[1].endswith(b"\r\n0\r\n\r\n"), "the body has not come to its end"


def test_a_frozen_child_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "TIMEOUT", 0.5)
    server = socket.create_server(("127.0.0.1", 0))
    output = open_output(f"http://127.0.0.1:{server.getsockname()[1]}/in", SPEC)
    source = blocks()
    output.write(next(source))
    (process,) = children()
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(OutputError, match=r"accepted no data for 0\.5 s"):
        pour(output, source)
    output.close()
    assert not process.is_running()


def test_a_child_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "CLOSING", 0.2)
    server = socket.create_server(("127.0.0.1", 0))
    output = open_output(f"http://127.0.0.1:{server.getsockname()[1]}/in", SPEC)
    output.write(next(blocks()))
    (process,) = children()
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(OutputError, match="the connection did not end within"):
        output.close()
    assert not process.is_running()


def test_settings_that_a_protocol_does_not_take() -> None:
    for scheme in ("rtmp", "whip"):
        with pytest.raises(InvalidOutputError, match=f"codec 'h265': {scheme} takes h264"):
            open_output(f"{scheme}://127.0.0.1/x", StreamSpec(VIDEO, EncoderSettings("h265")))
    with pytest.raises(InvalidOutputError, match="codec 'vp9': http takes h264, h265"):
        open_output("http://127.0.0.1/x", StreamSpec(VIDEO, EncoderSettings("vp9")))
    with pytest.raises(InvalidOutputError, match="container 'nut': whip has a container of its"):
        open_output("whip://127.0.0.1/x", SPEC, OutputOptions(container="nut"))
    with pytest.raises(InvalidOutputError, match=r"^whip://: has no host"):
        open_output("whip:///x", SPEC)


@pytest.mark.parametrize("installed", [True, False])
def test_a_pyav_without_the_muxer_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    monkeypatch.setattr(av, "formats_available", {"flv", "mpegts"})
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!{shutil.which('sh')}\necho ' E {'whip' if installed else 'flv'} WHIP'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(InvalidOutputError, match="has no muxer 'whip': install a newer") as error:
        open_output("whip://127.0.0.1/x", SPEC)
    assert ("installed ffmpeg: --out - | ffmpeg" in str(error.value)) == installed


def test_every_block_of_whip_is_marked() -> None:
    """RTP has no place for metadata, so user data of H.264 has it."""
    spec = StreamSpec(VIDEO, EncoderSettings("h264"))
    whip = relay_protocols.PROTOCOLS["whip"]
    muxer = RelayMuxer(relay_protocols.describe("whip://127.0.0.1/x", whip, spec), spec)
    for block in blocks(2):
        assert b"trainedAlgorithmicMedia" in muxer.add(block)


@needs_receiver
def test_whip_delivers_frames_and_sound_and_ends_its_session(track: AudioTrack) -> None:
    with whip_receiver() as receiver:
        spec = StreamSpec(VIDEO, audio=track)
        output = open_output(f"whip://token@127.0.0.1:{receiver.port}/live", spec)
        pour(output, blocks(4))
        output.close()
        await_that(lambda: len(receiver.requests()) == 2, "the session was not ended")
        check_frames(receiver, 65)
        sound = [each["time"] for each in receiver.packets("audio")]
        assert set(steps(sound)) == {960}, "20 ms, also between blocks"
        assert (sound[-1] - sound[0]) % 2**32 / 48000 == pytest.approx(65 / FPS, abs=0.04)
        assert receiver.requests() == [
            ("POST", "/live", "Bearer token"),
            ("DELETE", "/session/1", "Bearer token"),
        ]


@needs_receiver
def test_whip_ends_its_session_when_the_run_is_stopped() -> None:
    """Also while what was sent is still played."""
    with whip_receiver() as receiver:
        spec, stop = StreamSpec(VideoFormat(WIDTH, HEIGHT, 5)), threading.Event()
        output = open_output(f"whip://127.0.0.1:{receiver.port}/live", spec, stop=stop)
        pour(output, blocks(2))  # 6.6 seconds
        stop.set()
        with pytest.raises(OutputCancelled):
            output.close()
        await_that(lambda: len(receiver.requests()) == 2, "the session was not ended")
        assert receiver.requests()[1][0] == "DELETE"
    assert not children()


@needs_receiver
def test_whip_comes_back_when_its_receiver_does(caplog: pytest.LogCaptureFixture) -> None:
    source, options = blocks(), OutputOptions(sole_output=False)
    with whip_receiver() as first:
        output = open_output(f"whip://127.0.0.1:{first.port}/live", SPEC, options)
        output.write(next(source))
        await_that(lambda: first.packets("video"), "nothing came")
    while not any("trying again" in line for line in caplog.messages):
        output.write(next(source))
    with whip_receiver(first.port) as second:
        while not any("connected again" in line for line in caplog.messages):
            output.write(next(source))
        output.close()
        await_that(lambda: len(second.requests()) >= 2, "the session was not ended")
        check_frames(second, 16)


def check_frames(receiver: Receiver, count: int) -> None:
    """Whether `count` frames came, in presentation order, the first one with its parameters."""
    packets = receiver.packets("video")
    assert packets[0]["unit"] == 24, "parameter sets, in one packet"
    times = [each["time"] for each in packets if each["marker"]]
    assert set(steps(times)) == {90000 // FPS}, "B-frames would go back"
    assert len(times) == count


def steps(times: list[int]) -> list[int]:
    return [(b - a) % 2**32 for a, b in pairwise(times)]
