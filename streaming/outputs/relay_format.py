"""What a run sends to the process that relays its packets: a description, then packets.

All of it goes through a pipe between two processes of this program.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Self

from sana_stream.streaming.video_format import EncoderSettings, StreamSpec, VideoFormat

if TYPE_CHECKING:
    from av.packet import Packet

BEGIN, PACKET, END = b"\x01", b"\x02", b"\x03"
_HEAD = struct.Struct("<BqqqBI")  # track, pts, dts, duration, key frame, bytes
_SIZE = struct.Struct("<I")

# lines of the answer
CONNECTED, BEGUN, IDLE, FAILED = "connected", "begun", "idle", "failed: "


@dataclass(frozen=True, slots=True)
class Description:
    """Where the packets go, and what the container must know before the first one.

    Args:
        address: a URL of libavformat.
        format: the muxer.
        options: of the muxer.
        tags: the metadata.
        spec: size, rate and encoder of the video.
        sound: the codec of the sound, "aac" or "libopus"; None: there is none.
        encoder_options: further options of the video's encoder.
        idle: seconds after which a connection is closed that no packet has used; None: never.
    """

    address: str
    format: str
    options: Mapping[str, str]
    tags: Mapping[str, str]
    spec: StreamSpec
    sound: str | None
    encoder_options: Mapping[str, str]
    idle: float | None = None

    def pack(self) -> bytes:
        """The description as bytes, which begin with their number."""
        video = self.spec.video
        values = {
            "address": self.address,
            "format": self.format,
            "options": dict(self.options),
            "tags": dict(self.tags),
            "video": [video.width, video.height, str(video.rate)],
            "encoder": asdict(self.spec.encoder),
            "sound": self.sound,
            "encoder_options": dict(self.encoder_options),
            "idle": self.idle,
        }
        data = json.dumps(values).encode()
        return _SIZE.pack(len(data)) + data

    @classmethod
    def read(cls, read: Callable[[int], bytes]) -> Self:
        """The description that `pack` wrote; `read` returns a number of bytes."""
        (size,) = _SIZE.unpack(read(_SIZE.size))
        values: dict[str, Any] = json.loads(read(size))
        width, height, rate = values.pop("video")
        video = VideoFormat(width, height, Fraction(rate))
        spec = StreamSpec(video, EncoderSettings(**values.pop("encoder")))
        return cls(spec=spec, **values)


@dataclass(frozen=True, slots=True)
class RelayedPacket:
    """A packet; times are in the time base of its track."""

    track: int
    pts: int
    dts: int
    duration: int
    key: bool
    data: bytes


def pack_packets(packets: Iterable[tuple[int, Packet]]) -> bytes:
    """Packets, each with the number of its track, as bytes."""
    parts: list[bytes] = []
    for track, packet in packets:
        data = bytes(packet)
        pts, dts = packet.pts or 0, packet.dts or 0
        duration, key = packet.duration or 0, packet.is_keyframe
        parts += [PACKET, _HEAD.pack(track, pts, dts, duration, key, len(data)), data]
    return b"".join(parts)


def read_packets(read: Callable[[int], bytes]) -> Iterator[RelayedPacket]:
    """The packets up to the end of the stream; raises EOFError where it breaks off."""
    while read(1) == PACKET:
        track, pts, dts, duration, key, size = _HEAD.unpack(read(_HEAD.size))
        yield RelayedPacket(track, pts, dts, duration, bool(key), read(size))
