"""RTMP, HTTP and WHIP, through a child process that relays the packets of the run's encoders."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Event
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import SplitResult, unquote, urlsplit

from av import formats_available
from av.codec.context import Flags

from sana_stream.errors import InvalidOutputError, OutputError
from sana_stream.streaming.containers.encoder import explain_encoder_errors
from sana_stream.streaming.containers.streamed import OPTIONS, BlockTimes, stream_tags
from sana_stream.streaming.containers.tracks import Tracks
from sana_stream.streaming.video_format import StreamSpec

from .child import ChildTransport
from .relay_format import (
    BEGIN,
    BEGUN,
    END,
    FAILED,
    Description,
    pack_packets,
)
from .transports import wait_until_ready

if TYPE_CHECKING:
    from sana_stream.engine.block import Block, BlockPart
    from sana_stream.streaming.containers.chapters import Chapter

TOKEN_VARIABLE = "SANA_STREAM_WHIP_TOKEN"  # of the environment, for WHIP without one in its URL
_MODULE = "sana_stream.streaming.outputs.relay_process"
_CONNECTING = 10.0  # seconds for a connection
_AGAIN = 2.0  # seconds of waiting for one that is made again, after which the next block asks
_PLAIN = {"bf": "0", "profile": "baseline"}  # what every receiver of WebRTC decodes


@dataclass(frozen=True, slots=True)
class Protocol:
    """How libavformat delivers to addresses of a scheme.

    `idle` is how long a server keeps a connection without any data, in seconds.
    """

    format: str
    codecs: tuple[str, ...] = ("h264",)
    sound: str = "aac"
    idle: float = 8.0


_RTMP, _HTTP = Protocol("flv"), Protocol("mpegts", ("h264", "h265"))
_WHIP = Protocol("whip", sound="libopus", idle=1.0)
PROTOCOLS = {
    **{"rtmp": _RTMP, "rtmps": _RTMP, "http": _HTTP, "https": _HTTP},
    **{"whip": _WHIP, "whips": _WHIP},
}


def protocol_of(parts: SplitResult) -> Protocol | None:
    """The protocol of an address; None for one that is not relayed."""
    if parts.scheme in ("http", "https") and "whip" in parts.query.split("&"):
        return _WHIP
    return PROTOCOLS.get(parts.scheme)


def require_muxer(name: str, protocol: Protocol) -> None:
    """Refuse a protocol whose muxer this PyAV lacks.

    Raises:
        InvalidOutputError: what to install.
    """
    if protocol.format in formats_available:
        return
    import av

    other = ""
    if _ffmpeg_has(protocol.format):
        other = f", or pipe into the installed ffmpeg: --out - | ffmpeg -i - -f {protocol.format}"
    raise InvalidOutputError(
        f"{name}: this PyAV ({av.__version__}) has no muxer {protocol.format!r}: install a newer"
        f" one (pip install -U av){other}"
    )


def _ffmpeg_has(muxer: str) -> bool:
    path = shutil.which("ffmpeg")
    if path is None:
        return False
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run([path, "-v", "quiet", "-muxers"], capture_output=True, timeout=10)
        return any(line.split()[1:2] == [muxer.encode()] for line in listed.stdout.splitlines())
    return False


def describe(address: str, protocol: Protocol, spec: StreamSpec) -> Description:
    """What the child process needs to know; `spec` has its codec."""
    options = {"flush_packets": "1"} | OPTIONS.get(protocol.format, {})
    extra: dict[str, str] = {}
    if protocol is _WHIP:
        address, token = _whip_address(address)
        options, extra = ({"authorization": token} if token else {}), _PLAIN
    return Description(
        address,
        protocol.format,
        options,
        stream_tags(protocol.format, spec.metadata),
        replace(spec, audio=None),
        None if spec.audio is None else protocol.sound,
        extra,
    )


def _whip_address(address: str) -> tuple[str, str]:
    """The HTTP address of a WHIP endpoint, and the bearer token that it is given."""
    parts = urlsplit(address)
    scheme = {"whip": "http", "whips": "https"}.get(parts.scheme, parts.scheme)
    user, _, host = parts.netloc.rpartition("@")
    query = "&".join(part for part in parts.query.split("&") if part != "whip")
    token = unquote(user) or os.environ.get(TOKEN_VARIABLE, "")
    return parts._replace(scheme=scheme, netloc=host, query=query).geturl(), token


class RelayMuxer:
    """Encodes blocks for the child process, which has the container; the header is sent by it."""

    def __init__(self, described: Description, spec: StreamSpec) -> None:
        self._tracks = Tracks(spec, described.sound, described.encoder_options)
        self._times = BlockTimes(described.format, spec)
        self._units = (spec.video.frame_time, None)
        self._flags = 0 if described.format == "mpegts" else int(Flags.global_header)

    def header(self) -> bytes:
        """No bytes."""
        return b""

    def add(self, block: Block | BlockPart) -> bytes:
        """The packets of one block, in decoding order."""
        tracks = self._tracks
        with explain_encoder_errors(tracks.codec, tracks.video, OutputError):
            pictures = tracks.pictures(tracks.encoder(self._flags), block)
            samples = tracks.samples(block)
            self._times.prepare(pictures, samples, block.prompt)
        packets = [(0, each) for each in pictures] + [(1, each) for each in samples]
        packets.sort(key=lambda each: (each[1].dts or 0) * (each[1].time_base or 0))
        return pack_packets(packets)

    def trailer(self) -> bytes:
        """The end of the stream."""
        return END

    def finish(self, file: BinaryIO, chapters: Sequence[Chapter] = ()) -> None:
        """Do nothing: no file holds these bytes."""


class RelayTransport(ChildTransport):
    """A child process with a connection of libavformat.

    A server may close a connection on which nothing comes, while a model is loaded: such a child
    ends its connection itself, and another one is started for the first data.
    """

    program = "the process of the connection"

    def __init__(self, described: Description, stop: Event, timeout: float) -> None:
        super().__init__(described.address, stop, timeout)
        token = described.options.get("authorization", "")
        self._secrets = tuple(part for part in (token, *self._secrets) if part)
        self._described = described
        self._begun = False
        self._start(described)

    def await_connection(self, seconds: float) -> bool:
        """Wait until there is a connection; False after `seconds` seconds; OSError if it failed."""
        try:
            return self._next_line(seconds) is not None
        except EOFError as error:
            raise OSError(str(error)) from error

    def send(self, data: bytes | memoryview, seconds: float) -> None:
        """Write everything to the child."""
        if not self._begun and data:
            self._begin()
        super().send(data, seconds)

    def _end(self, timeout: float) -> None:
        super()._end(timeout)
        self._reason()  # what it has answered, before the pipe is closed
        if self._child is not None and self._child.stdout is not None:
            self._child.stdout.close()

    def _start(self, described: Description) -> None:
        self._answers = b""
        self._last = ""  # why the child has ended
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # out of reach of Ctrl-C: it ends with its input
        )
        self._feed(described.pack())

    def _begin(self) -> None:
        """Use the connection, or make another one where it was not used for too long."""
        assert self._child
        assert self._child.stdin
        answer = None
        with contextlib.suppress(BrokenPipeError, EOFError):
            os.write(self._child.stdin.fileno(), BEGIN)
            answer = self._next_line(self._timeout)
        if answer != BEGUN:
            self.kill()
            self._start(replace(self._described, idle=None))
            if not self.await_connection(_CONNECTING):
                raise TimeoutError(f"no answer within {_CONNECTING:.0f} s")
            self._feed(BEGIN)
        self._begun = True

    def _next_line(self, seconds: float) -> str | None:
        """The next answer; None if none comes; OSError where the child has failed, EOFError where
        it has ended."""
        assert self._child
        assert self._child.stdout
        descriptor, deadline = self._child.stdout.fileno(), time.monotonic() + seconds
        while b"\n" not in self._answers:
            try:
                left = max(0.0, deadline - time.monotonic())
                wait_until_ready(descriptor, self._stop, reading=True, timeout=left)
            except TimeoutError:
                return None
            if not (data := os.read(descriptor, 1 << 12)):
                raise EOFError(f"{self.program} has ended")
            self._answers += data
        line, _, self._answers = self._answers.partition(b"\n")
        text = line.decode(errors="replace")
        if text.startswith(FAILED):
            raise OSError(self._redacted(text.removeprefix(FAILED)).lower())
        return text

    def _reason(self) -> str:
        if not self._last and self._child and self._child.stdout and not self._child.stdout.closed:
            try:
                while self._next_line(0.0) is not None:
                    pass
            except EOFError:
                pass  # it was killed
            except OSError as error:
                self._last = str(error)
        return self._last


class RelayConnector:
    """Makes the connections of one output, each in a process of its own.

    The first one is waited for. A later one is made while the run continues: until it is there, a
    call raises BlockingIOError.
    """

    def __init__(self, described: Description, idle: float, stop: Event, timeout: float) -> None:
        self._described = described
        self._idle: float | None = idle
        self._stop = stop
        self._timeout = timeout
        self._pending: RelayTransport | None = None
        self._begun = 0.0

    def __call__(self) -> RelayTransport:
        """A connection; raises OSError where there is none."""
        first = self._idle is not None
        if self._pending is None:
            self._begun = time.monotonic()
            described = replace(self._described, idle=self._idle)
            self._idle = None
            self._pending = RelayTransport(described, self._stop, self._timeout)
        try:
            connected = self._pending.await_connection(_CONNECTING if first else _AGAIN)
        except OSError:
            self.close()
            raise
        if connected:
            transport, self._pending = self._pending, None
            return transport
        if time.monotonic() - self._begun >= _CONNECTING:
            self.close()
            raise TimeoutError(f"no answer within {_CONNECTING:.0f} s")
        raise BlockingIOError("no connection yet")

    def close(self) -> None:
        """End a connection that is being made."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.kill()
