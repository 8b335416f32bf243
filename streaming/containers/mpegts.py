"""Streaming containers (MPEG-TS, NUT, FLV), and finding the frames of an MPEG transport stream.

Packets of a transport stream: ISO/IEC 13818-1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO, cast

import av

from sana_stream.errors import InvalidOutputError, OutputError
from sana_stream.streaming.run_mark import run_mark
from sana_stream.streaming.video_format import Metadata, StreamSpec, check_limits

from .encoder import (
    configure_encoder,
    encode,
    encoder_name,
    encoder_options,
    explain_encoder_errors,
    pixel_format,
)
from .sei import add_user_data

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.stream import VideoStream

    from sana_stream.engine.block import Block, BlockPart

    from .chapters import Chapter


PACKET = 188  # bytes
_SYNC = 0x47
_VIDEO = range(0xE0, 0xF0)  # stream identifiers of video


def frame_ends(file: BinaryIO) -> Iterator[int]:
    """The position after each frame of an MPEG transport stream, in the order of the file.

    Tables before a frame belong to that frame. Stops at the first incomplete packet.
    """
    inside, end = False, 0
    for position, begins, is_video in _packets(file):
        if begins and is_video:
            if inside:
                yield end
            inside = True
        if is_video:
            end = position + PACKET
    if inside:
        yield end


def _packets(file: BinaryIO) -> Iterator[tuple[int, bool, bool]]:
    """Each packet's position, whether a unit begins in it, and whether it is video."""
    video: int | None = None
    position = file.seek(0)
    while len(packet := file.read(PACKET)) == PACKET and packet[0] == _SYNC:
        begins = bool(packet[1] & 0x40)
        identifier = int.from_bytes(packet[1:3]) & 0x1FFF
        if begins and video is None and _begins_video(packet):
            video = identifier
        yield position, begins, identifier == video
        position += PACKET


def _begins_video(packet: bytes) -> bool:
    content = 4
    if packet[3] & 0x20:  # an adaptation field comes first
        content += 1 + packet[4]
    head = packet[content : content + 4]
    return head[:3] == b"\x00\x00\x01" and head[3] in _VIDEO


OPTIONS = {
    # counters may jump at the first packets: a file may continue that of an earlier run
    "mpegts": {"flush_packets": "1", "mpegts_flags": "initial_discontinuity"},
    "nut": {"flush_packets": "1", "write_index": "0"},
    "flv": {"flush_packets": "1", "flvflags": "no_duration_filesize+no_sequence_end"},
}


_LONGEST_NAME = 200  # bytes
_LONGEST_PROMPT = 10_000  # characters of a prompt in a block's user data
_LAG = 2  # frames from decoding to presentation, in every block


class _Collector:
    """A file that cannot be rewound and collects what is written until it is taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def _container_metadata(container: str, metadata: Metadata) -> dict[str, str]:
    """The tags to write; MPEG-TS holds only a title and the name of a provider."""
    tags = metadata.as_dict()
    if container != "mpegts":
        return tags
    return tags | {"service_name": _short(metadata.title), "service_provider": provider(metadata)}


def provider(metadata: Metadata) -> str:
    """The provider of an MPEG-TS service: the run's id and the mark of generated media."""
    mark = metadata.ai_mark()
    texts = (
        None if metadata.run is None else run_mark(metadata.run),
        None if mark is None else mark.line(),
    )
    return _short(" ".join(text for text in texts if text))


def _short(text: str) -> str:
    """The beginning of a text that the table of services can hold (EN 300 468, 6.2.33)."""
    return text.encode()[:_LONGEST_NAME].decode(errors="ignore")


class StreamMuxer:
    """Muxes one stream into a streaming container; `container` is "mpegts", "nut" or "flv".

    The encoder of the container's stream is only used for the header; packets come from the encoder
    of their block.
    """

    def __init__(self, container: str, spec: StreamSpec) -> None:
        self._video = video = spec.video
        self._codec = spec.encoder.codec or "h264"
        check_limits(self._codec, video)
        self._encoder = encoder_name(spec.encoder, self._codec)
        self._pixels = pixel_format(spec.encoder, self._codec)
        self._encoder_options = encoder_options(spec.encoder, self._codec)
        self._metadata = spec.metadata if container == "mpegts" else None
        self._bytes = _Collector()
        self._container = av.open(
            self._bytes, "w", format=container, container_options=dict(OPTIONS[container])
        )
        self._container.metadata.update(_container_metadata(container, spec.metadata))
        self._stream = cast(
            "VideoStream",
            self._container.add_stream(
                self._encoder, rate=video.rate, options=dict(self._encoder_options)
            ),
        )
        self._stream.time_base = video.frame_time
        configure_encoder(self._stream.codec_context, video, self._pixels)

    def __del__(self) -> None:
        # PyAV before 18 crashes when a container outlives the buffer that it writes to
        if hasattr(self, "_container"):
            self._container.close()

    def header(self) -> bytes:
        """The bytes with which the container begins."""
        with explain_encoder_errors(self._codec, self._video, InvalidOutputError):
            self._container.start_encoding()
        return self._bytes.take()

    def add(self, block: Block | BlockPart) -> bytes:
        """The block's packets."""
        with explain_encoder_errors(self._codec, self._video, OutputError):
            packets = list(encode(self._fresh_encoder(), block.frames, block.start, self._video))
            self._align(packets)
            self._mark(packets, block.prompt)
            for packet in packets:
                packet.stream = self._stream
                packet.time_base = self._video.frame_time
                self._container.mux_one(packet)
        return self._bytes.take()

    def trailer(self) -> bytes:
        """The bytes with which the container ends."""
        self._container.close()
        return self._bytes.take()

    def finish(self, file: BinaryIO, chapters: Sequence[Chapter] = ()) -> None:
        """Add the end; these containers have no index and no chapters."""
        file.seek(0, 2)
        file.write(self.trailer())

    def _fresh_encoder(self) -> VideoCodecContext:
        context = cast("VideoCodecContext", av.CodecContext.create(self._encoder, "w"))
        configure_encoder(context, self._video, self._pixels)
        context.options = dict(self._encoder_options)
        context.flags = self._stream.codec_context.flags  # parameter sets in the header, or not
        return context

    def _mark(self, packets: list[Packet], prompt: str) -> None:
        """Say in the block's first packet what has generated it."""
        mark = None if self._metadata is None else self._metadata.ai_mark(prompt)
        if mark is not None:
            facts = mark.facts() | {"prompt": mark.prompts[:_LONGEST_PROMPT]}
            packets[0] = add_user_data(packets[0], self._codec, json.dumps(facts))

    def _align(self, packets: list[Packet]) -> None:
        """Make decode times increase: in a short block they are closer to presentation times."""
        early = (packets[0].pts or 0) - (packets[0].dts or 0) - _LAG
        for packet in packets:
            packet.dts = (packet.dts or 0) + early
