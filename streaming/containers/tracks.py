"""The tracks of a stream: the encoders of its blocks, and the streams of a container for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import av

from sana_stream.streaming.audio import SAMPLE_RATE, AudioEncoder, configure_audio
from sana_stream.streaming.video_format import StreamSpec, check_limits

from .encoder import (
    CODECS,
    configure_encoder,
    encode,
    encoder_name,
    encoder_options,
    pixel_format,
)
from .priority import keep_priority

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.stream import VideoStream

    from sana_stream.engine.block import Block, BlockPart


class Tracks:
    """The video of a stream and, with `sound`, its sound.

    Args:
        spec: of the stream, with its codec.
        sound: the encoder of the sound, "aac" or "libopus"; None: there is none.
        options: further options of the video's encoder.

    Raises:
        InvalidOutputError: a size or rate that the encoder does not take.
    """

    def __init__(
        self, spec: StreamSpec, sound: str | None, options: Mapping[str, str] | None = None
    ) -> None:
        self.video = spec.video
        self.codec = spec.encoder.codec or "h264"
        self.sound = sound
        check_limits(self.codec, spec.video)
        self._encoder = encoder_name(spec.encoder, self.codec)
        self._pixels = pixel_format(spec.encoder, self.codec)
        self._options = encoder_options(spec.encoder, self.codec) | dict(options or {})
        self._audio = (
            None
            if spec.audio is None or sound is None
            else AudioEncoder(spec.audio, sound, spec.video.frame_time)
        )

    def add_to(self, container: OutputContainer) -> VideoStream:
        """Add the streams to a new container and write its header; returns that of the video."""
        stream = cast(
            "VideoStream",
            container.add_stream(self._encoder, rate=self.video.rate, options=dict(self._options)),
        )
        stream.time_base = self.video.frame_time
        configure_encoder(stream.codec_context, self.video, self._pixels)
        tag = CODECS[self.codec].mp4_tag
        if tag and container.format.name in ("mp4", "mov"):
            stream.codec_context.codec_tag = tag
        if self.sound is not None:
            sound = cast("AudioStream", container.add_stream(self.sound, SAMPLE_RATE))
            configure_audio(sound.codec_context, self.sound)
        with keep_priority():
            container.start_encoding()
        return stream

    def encoder(self, flags: int) -> VideoCodecContext:
        """A video encoder for one block; `flags` are those of libavcodec."""
        context = cast("VideoCodecContext", av.CodecContext.create(self._encoder, "w"))
        configure_encoder(context, self.video, self._pixels)
        context.options = dict(self._options)
        context.flags = flags
        return context

    def pictures(self, context: VideoCodecContext, block: Block | BlockPart) -> list[Packet]:
        """The packets of a block's frames, in decoding order; times are frame numbers."""
        packets = list(encode(context, block.frames, block.start, self.video))
        for packet in packets:
            packet.time_base = self.video.frame_time
        return packets

    def samples(self, block: Block | BlockPart) -> list[Packet]:
        """The packets of a block's sound, in samples from the beginning; none without sound."""
        if self._audio is None:
            return []
        return self._audio.packets(block.start, len(block.frames))
