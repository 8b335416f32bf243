"""The process that relays a stream: it has a connection of libavformat, and paces the packets.

`python -m sana_stream.streaming.outputs.relay_process` reads a description and packets from
standard input and answers on standard output. libavformat holds Python's interpreter lock while it
connects and while it ends, which may take long; in a process of its own no other thread waits.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import ssl
import sys
import time
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import av
from av.error import FFmpegError, ProtocolNotFoundError

from sana_stream._text import safe_text
from sana_stream.streaming.audio import SAMPLE_RATE
from sana_stream.streaming.containers.tracks import Tracks

from .http_body import HttpBody
from .relay_format import (
    BEGIN,
    BEGUN,
    CONNECTED,
    FAILED,
    IDLE,
    Description,
    RelayedPacket,
    read_packets,
)

if TYPE_CHECKING:
    from av.container import OutputContainer

_LATE = 1.0  # seconds by which a packet may be late; after a longer pause the clock begins again
_VAGUE = ("input/output error", "invalid argument", "invalid data", "unknown error")


class Clock:
    """Waits until packets are due: as fast as they play from the first one on."""

    def __init__(self) -> None:
        self._zero: float | None = None

    def wait(self, seconds: float) -> None:
        """Wait until a packet with this decode time is due."""
        now = time.monotonic()
        if self._zero is None or now - self._zero - seconds > _LATE:
            self._zero = now - seconds
        time.sleep(max(0.0, self._zero + seconds - now))


class Relay:
    """One connection.

    Args:
        source: a descriptor to read from.
    """

    def __init__(self, source: int) -> None:
        self._source = source
        self._buffer = bytearray()

    def read(self, size: int) -> bytes:
        """Read a number of bytes; raises EOFError at the end."""
        while len(self._buffer) < size:
            data = os.read(self._source, 1 << 16)
            if not data:
                raise EOFError
            self._buffer += data
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def run(self) -> None:
        """Relay a stream from its description to its end."""
        described = Description.read(self.read)
        _resolve(described.address)
        body = HttpBody(described.address) if described.format == "mpegts" else None
        options = dict(described.options)
        with av.open(
            body or described.address, "w", format=described.format, container_options=options
        ) as container:
            container.metadata.update(described.tags)
            Tracks(described.spec, described.sound, described.encoder_options).add_to(container)
            answer(CONNECTED)
            if not self._has_data(described.idle):
                answer(IDLE)
                return
            if self.read(1) != BEGIN:
                raise EOFError
            answer(BEGUN)
            self._relay(container, (described.spec.video.frame_time, Fraction(1, SAMPLE_RATE)))
        if body is not None:
            body.finish()

    def _relay(self, container: OutputContainer, units: tuple[Fraction, ...]) -> None:
        clock, begin = Clock(), None
        for each in read_packets(self.read):
            unit = units[each.track]
            begin = each.dts * unit if begin is None else begin  # a connection begins at zero
            clock.wait(float(each.dts * unit))
            container.mux_one(_packet(each, container, unit, round(begin / unit)))

    def _has_data(self, idle: float | None) -> bool:
        """Whether data comes, within `idle` seconds; Windows cannot wait for it."""
        if idle is None or sys.platform == "win32" or self._buffer:
            return True
        return bool(select.select([self._source], [], [], idle)[0])


def _packet(
    each: RelayedPacket, container: OutputContainer, unit: Fraction, begin: int
) -> av.Packet:
    packet = av.Packet(each.data)
    packet.stream = container.streams[each.track]
    packet.pts, packet.dts, packet.duration = each.pts - begin, each.dts - begin, each.duration
    packet.time_base, packet.is_keyframe = unit, each.key
    return packet


def _resolve(address: str) -> None:
    """Raise the error of a name that has no address, which libav does not report as such."""
    parts = urlsplit(address)
    socket.getaddrinfo(parts.hostname, parts.port or 80)


def reason_of(error: Exception) -> str:
    """An error on one line: what the server said, or what libav has logged."""
    if isinstance(error, ProtocolNotFoundError):
        return f"this PyAV ({av.__version__}) lacks the protocol: pip install av has it"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of the server is not accepted: {error.verify_message}"
    text = str(getattr(error, "strerror", None) or error or type(error).__name__)
    log: Any = error.log if isinstance(error, FFmpegError) else None  # level, part, message
    if log is not None and text.lower().startswith(_VAGUE):
        text = str(log[-1]).strip().partition("\n")[0] or text
    return safe_text(text).rstrip(".")


def answer(line: str) -> None:
    """Report to the process that has started this one."""
    os.write(_answers, line.encode() + b"\n")


_answers = 1


def main() -> int:
    """Relay the stream on standard input; returns the exit status."""
    global _answers
    _answers = os.dup(1)
    os.dup2(2, 1)  # no library may write between the answers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the connection is ended
    av.logging.set_level(av.logging.ERROR)
    logging.getLogger("libav").propagate = False
    try:
        Relay(0).run()
    except EOFError:
        return 1  # the run ended before the end of the stream
    except Exception as error:  # of any kind: it is what the run reports
        answer(FAILED + reason_of(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
