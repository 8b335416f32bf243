"""Demuxing and decoding of a clip's file, with a count of what is damaged."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from sana_stream._files import SEALED
from sana_stream._text import safe_text
from sana_stream.errors import ConfigError, UnknownClipError

# Containers with their own content: no playlists, lists of other files, or scripts.
FORMATS = (
    "mov", "matroska", "avi", "mpegts", "mpeg", "flv", "asf", "nut", "mxf", "ogg", "yuv4mpegpipe",
    "ivf", "h264", "hevc", "mpegvideo", "m4v", "obu", "dv", "gif", "apng",
)  # fmt: skip
KNOWN = "MP4, MOV, MKV, WebM, AVI, MPEG, TS, FLV, WMV, OGV, MXF, GIF"
BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # one begins an MP4 or MOV
PIXELS = 40_000_000  # per frame; 8192x4320 has 35 million
TS_PACKET = 188  # bytes; each begins with the sync byte 0x47, "G"
READ = 1 << 20  # maximal bytes per read of libav
DAMAGED_PACKETS = 100_000  # decoding stops after this many


class _Source:
    """File object for libav that limits reads and reports bad seeks."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.name = "a clip"  # appears in libav's messages only

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, READ))

    def seek(self, position: int, whence: int = 0) -> int:
        try:
            return self._file.seek(position, whence)
        except (OSError, ValueError):
            return -1

    def tell(self) -> int:
        return self._file.tell()


@dataclass(slots=True)
class Damage:
    """Count of what could not be decoded, updated while frames are read."""

    packets: int = 0  # refused by the decoder, or decoded to an incomplete frame
    ended: bool = False  # the file ended with an error


@dataclass(frozen=True, slots=True)
class OpenClip:
    """An open container and its selected video stream."""

    name: str
    container: InputContainer
    stream: VideoStream

    @property
    def length(self) -> Fraction | None:
        """Duration of the stream in seconds, if the file states it."""
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
        """Average seconds between frames, from the file's frame rate."""
        rate = self.stream.average_rate or self.stream.guessed_rate
        return 1 / Fraction(rate) if rate and rate > 0 else Fraction(1, 25)

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel divided by its height; 1 if the file states none or a wrong one."""
        aspect = Fraction(self.stream.sample_aspect_ratio or 1)
        return aspect if Fraction(1, 10) <= aspect <= 10 else Fraction(1)

    def decoded(self, damage: Damage) -> Iterator[VideoFrame]:
        """Yield every frame that can be decoded; count the others in `damage`."""
        last: VideoFrame | None = None
        for packet in self._packets(damage):
            if packet is not None and packet.pts is not None and not packet.size:
                # Theora repeats a frame by an empty packet; a decoder would take it for the end
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
        """Yield the packets, and finally an empty packet or `None`, which flushes the decoder."""
        demuxed = self.container.demux(self.stream)
        while True:
            try:
                packet = next(demuxed, None)
            except (
                IndexError
            ):  # a packet of a stream that PyAV does not know, as the stream began later
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
    """Open a clip and select its stream: the default one, never a cover image.

    Raises:
        UnknownClipError: not a clip, or a damaged one.
        ConfigError: no video stream, or frames that are too large.
    """
    limits = {
        "format_whitelist": ",".join(FORMATS),
        **SEALED,
        "max_pixels": str(PIXELS),
    }
    try:
        container = av.open(_Source(file), "r", options=limits, metadata_errors="replace")
    except (FFmpegError, OSError, ValueError, MemoryError) as error:
        if isinstance(error, FFmpegError) and error.errno == errno.EINVAL:
            raise UnknownClipError(
                f"{name} cannot be read: it is not a clip of a known format ({KNOWN})"
            ) from error
        reason = safe_text(getattr(error, "strerror", None) or error)
        raise UnknownClipError(
            f"{name} cannot be read: it is damaged, truncated, or not a clip ({reason})"
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
        content = "a cover picture only" if container.streams.video else "no video stream"
        raise ConfigError(f"{name} has {content}")
    return next((s for s in streams if s.disposition & Disposition.default), streams[0])


def is_truncated(file: BinaryIO) -> bool:
    """Whether an MP4 or MOV is shorter than its boxes state, or a TS ends within a packet."""
    size, position = file.seek(0, 2), 0
    file.seek(0)
    if file.read(5 * TS_PACKET)[::TS_PACKET] == b"G" * 5:
        return size % TS_PACKET > 0
    for _ in range(10_000):
        if position + 8 > size:
            break
        file.seek(position)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if position == 0 and head[4:8] not in BOXES:
            return False
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length < 8:  # 0: up to the end of the file
            return False
        position += length
    return position > size
