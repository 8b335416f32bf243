"""One block as a complete small container, of which a growing stream takes the part it needs."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import av

from sana_stream.errors import InvalidOutputError, OutputError
from sana_stream.streaming.audio import SAMPLE_RATE, AudioEncoder
from sana_stream.streaming.video_format import StreamSpec, check_limits

from .encoder import (
    CODECS,
    configure_encoder,
    encode,
    encoder_name,
    encoder_options,
    explain_encoder_errors,
    pixel_format,
)

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

    from sana_stream.engine.block import Block, BlockPart


class SingleBlockContainer:
    """Muxes each block into a container in memory; only the content differs between them.

    The header of one is therefore the header of all, and what follows it in each container can be
    appended to what follows it in the one before. Time stamps are those of the stream.
    """

    def __init__(
        self,
        container: str,
        options: dict[str, str],
        spec: StreamSpec,
    ) -> None:
        self._container = container
        self._options = options
        self._video = spec.video
        self._codec = spec.encoder.codec or "h264"
        check_limits(self._codec, spec.video)
        self._encoder = encoder_name(spec.encoder, self._codec)
        self._pixels = pixel_format(spec.encoder, self._codec)
        self._encoder_options = encoder_options(spec.encoder, self._codec)
        self._metadata = spec.metadata.as_dict()
        codec = "libopus" if container == "webm" else "aac"
        self._audio = (
            None if spec.audio is None else AudioEncoder(spec.audio, codec, spec.video.frame_time)
        )
        if spec.audio is not None and container in ("mp4", "mov"):
            # readers disagree about the time of reordered frames in fragments, sound shows it
            self._encoder_options["bf"] = "0"

    def header(self) -> bytes:
        """The bytes with which each of the containers begins."""
        buffer = io.BytesIO()
        with (
            explain_encoder_errors(self._codec, self._video, InvalidOutputError),
            self._open(buffer),
        ):
            return buffer.getvalue()

    def add(self, block: Block | BlockPart) -> bytes:
        """The complete container of one block."""
        buffer = io.BytesIO()
        explained = explain_encoder_errors(self._codec, self._video, OutputError)
        with explained, self._open(buffer) as (container, stream):
            packets = list(encode(stream.codec_context, block.frames, block.start, self._video))
            if self._audio is not None:
                packets += self._audio_packets(self._audio, container, block)
            container.mux(packets)
        return buffer.getvalue()

    def _audio_packets(
        self, audio: AudioEncoder, container: OutputContainer, block: Block | BlockPart
    ) -> list[Packet]:
        packets = audio.packets(block.start, len(block.frames))
        for packet in packets:
            packet.stream = container.streams.audio[0]
        return packets

    @contextmanager
    def _open(self, buffer: io.BytesIO) -> Iterator[tuple[OutputContainer, VideoStream]]:
        options = dict(self._options)
        with av.open(buffer, "w", format=self._container, container_options=options) as container:
            yield container, self._begin(container)

    def _begin(self, container: OutputContainer) -> VideoStream:
        container.metadata.update(self._metadata)
        codec = CODECS[self._codec]
        stream = cast(
            "VideoStream",
            container.add_stream(
                self._encoder, rate=self._video.rate, options=dict(self._encoder_options)
            ),
        )
        stream.time_base = self._video.frame_time
        configure_encoder(stream.codec_context, self._video, self._pixels)
        if codec.mp4_tag and self._container in ("mp4", "mov"):
            stream.codec_context.codec_tag = codec.mp4_tag
        if self._audio is not None:
            sound = cast("AudioStream", container.add_stream(self._audio.codec, SAMPLE_RATE))
            self._audio.configure(sound.codec_context)
        container.start_encoding()
        return stream
