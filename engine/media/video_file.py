"""The frames of a clip's file: what plays of it, and how much of it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from sana_stream._text import safe_text
from sana_stream.errors import ConfigError, UnknownClipError

# Containers that hold their pictures themselves: no playlist, no list of other files, no script.
FORMATS = (
    "mov", "matroska", "avi", "mpegts", "mpeg", "flv", "asf", "nut", "mxf", "ogg", "yuv4mpegpipe",
    "ivf", "h264", "hevc", "mpegvideo", "m4v", "obu", "dv", "gif", "apng",
)  # fmt: skip
KNOWN = "MP4, MOV, MKV, WebM, AVI, MPEG, TS, FLV, WMV, OGV, MXF, GIF"
BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # one begins an MP4 or MOV
PIXELS = 40_000_000  # of a frame; 8192x4320 has 35 million
TS_PACKET = 188  # bytes; each begins with 0x47, "G"
READ = 1 << 20  # bytes that libav gets at once
DAMAGED_PACKETS = 100_000  # then it is no clip any more


class _Source:
    """A file as libav reads it: however much a damaged one asks for, and from wherever."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.name = "a clip"  # shows in libav's messages only

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, READ))

    def seek(self, place: int, whence: int = 0) -> int:
        try:
            return self._file.seek(place, whence)
        except (OSError, ValueError):
            return -1

    def tell(self) -> int:
        return self._file.tell()


@dataclass(slots=True)
class Damage:
    """What of a clip could not be read, counted while its frames are taken."""

    packets: int = 0  # that the decoder refused, or of which it made no whole frame
    ended: bool = False  # the file broke off


@dataclass(frozen=True, slots=True)
class OpenClip:
    """A clip's file, open, with the stream of it that is shown."""

    name: str
    container: InputContainer
    stream: VideoStream

    @property
    def length(self) -> Fraction | None:
        """Seconds that the file says it plays, where it says so of this stream."""
        stream, base = self.stream, self.stream.time_base
        if stream.duration and base:
            return stream.duration * base
        if len(self.container.streams) == 1 and self.container.duration:
            begin = (
                (self.container.start_time or 0) if "matroska" in self.container.format.name else 0
            )
            return Fraction(self.container.duration - max(0, begin), av.time_base)
        return None

    @property
    def interval(self) -> Fraction:
        """Seconds from one frame to the next, as the file has it on average."""
        rate = self.stream.average_rate or self.stream.guessed_rate
        return 1 / Fraction(rate) if rate and rate > 0 else Fraction(1, 25)

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel by its height; 1 where the file says nothing that can be."""
        aspect = Fraction(self.stream.sample_aspect_ratio or 1)
        return aspect if Fraction(1, 10) <= aspect <= 10 else Fraction(1)

    def decoded(self, damage: Damage) -> Iterator[VideoFrame]:
        """Every frame that can be decoded; what cannot be is counted and left out."""
        last: VideoFrame | None = None
        for packet in self._packets(damage):
            if packet is not None and packet.pts is not None and not packet.size:
                # the frame before stands on, as Theora writes it; to a decoder it would be the end
                if last is not None and last.pts is not None and last.pts < packet.pts:
                    last.pts = packet.pts
                    yield last
                continue
            try:
                for last in self.stream.codec_context.decode(packet):
                    damage.packets += last.is_corrupt
                    yield last
            except EOFError:
                return
            except (FFmpegError, ValueError, MemoryError):
                damage.packets += 1
                if damage.packets > DAMAGED_PACKETS:
                    return

    def _packets(self, damage: Damage) -> Iterator[Packet | None]:
        """Its packets, and one without content or `None` that brings the last frames."""
        demuxed = self.container.demux(self.stream)
        while True:
            try:
                packet = next(demuxed, None)
            except (
                IndexError
            ):  # a packet of a stream that began in the middle: PyAV has no name for it
                demuxed = self.container.demux(self.stream)
                continue
            except (FFmpegError, OSError, ValueError, MemoryError):
                damage.ended = True
                yield None
                return
            if packet is None:
                return
            damage.packets += packet.is_corrupt
            yield packet


def open_clip(file: BinaryIO, name: str) -> OpenClip:
    """Open a clip and choose its stream: no cover picture, the one that is meant to be shown.

    Raises:
        ConfigError: no clip, a damaged one, or one of frames that are too large.
    """
    limits = {
        "format_whitelist": ",".join(FORMATS),
        "protocol_whitelist": "none",  # other files and addresses that it names stay closed
        "max_pixels": str(PIXELS),
    }
    try:
        container = av.open(_Source(file), "r", options=limits, metadata_errors="replace")
    except ArgumentError as error:
        raise UnknownClipError(
            f"{name} cannot be read: it is no clip of a known kind ({KNOWN})"
        ) from error
    except (FFmpegError, OSError, ValueError, MemoryError) as error:
        reason = safe_text(getattr(error, "strerror", None) or error)
        raise UnknownClipError(
            f"{name} cannot be read: it is damaged, cut short, or no clip ({reason})"
        ) from error
    try:
        stream = _shown_stream(container, name)
        if stream.codec_context.width * stream.codec_context.height > PIXELS:
            raise ConfigError(
                f"{name} has frames of {stream.codec_context.width}x{stream.codec_context.height};"
                f" at most {PIXELS // 1_000_000} megapixels can be read: make it smaller"
            )
        stream.codec_context.options = {"max_pixels": str(PIXELS)}
    except ConfigError:
        container.close()
        raise
    return OpenClip(name, container, stream)


def _shown_stream(container: InputContainer, name: str) -> VideoStream:
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None
    ]
    if not streams:
        pictured = "nothing but a cover picture" if container.streams.video else "no picture"
        raise ConfigError(f"{name} holds {pictured}")
    return next((s for s in streams if s.disposition & Disposition.default), streams[0])


def breaks_off(file: BinaryIO) -> bool:
    """Whether an MP4 or MOV says that it is longer than it is, or a TS ends within a packet."""
    size, place = file.seek(0, 2), 0
    file.seek(0)
    if file.read(5 * TS_PACKET)[::TS_PACKET] == b"G" * 5:
        return size % TS_PACKET > 0
    for _ in range(10_000):
        if place + 8 > size:
            break
        file.seek(place)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if place == 0 and head[4:8] not in BOXES:
            return False
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length < 8:  # 0: up to the end
            return False
        place += length
    return place > size
