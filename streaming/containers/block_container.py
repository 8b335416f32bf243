"""One block as a small container of its own, of which a growing stream takes the part it needs."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import av

from sana_stream.errors import InvalidOutputError, OutputError
from sana_stream.streaming.video_format import EncoderSettings, Metadata, VideoFormat, check_limits

from .encoder import (
    CODECS,
    configure_encoder,
    encode,
    encoder_name,
    encoder_options,
    explain_encoder_errors,
)

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

    from sana_stream.engine.block import Block


class SingleBlockContainer:
    """Makes containers in memory that differ in nothing but the block they hold.

    So the header of one serves them all, and the rest of each can follow the rest of the one
    before: time stamps are those of the stream.
    """

    def __init__(
        self,
        container: str,
        options: dict[str, str],
        video: VideoFormat,
        encoding: EncoderSettings,
        tags: Metadata,
    ) -> None:
        self._container = container
        self._options = options
        self._video = video
        self._codec = encoding.codec or "h264"
        check_limits(self._codec, video)
        self._encoder = encoder_name(encoding, self._codec)
        self._encoder_options = encoder_options(encoding, self._codec)
        self._tags = tags.as_dict()

    def header(self) -> bytes:
        """What every slice begins with."""
        buffer = io.BytesIO()
        with (
            explain_encoder_errors(self._codec, self._video, InvalidOutputError),
            self._open(buffer),
        ):
            return buffer.getvalue()

    def add(self, block: Block) -> bytes:
        """The whole container of one block."""
        buffer = io.BytesIO()
        faults = explain_encoder_errors(self._codec, self._video, OutputError)
        with faults, self._open(buffer) as (container, stream):
            packets = encode(stream.codec_context, block.frames, block.start, self._video)
            container.mux(list(packets))
        return buffer.getvalue()

    @contextmanager
    def _open(self, buffer: io.BytesIO) -> Iterator[tuple[OutputContainer, VideoStream]]:
        options = dict(self._options)
        with av.open(buffer, "w", format=self._container, container_options=options) as container:
            yield container, self._begin(container)

    def _begin(self, container: OutputContainer) -> VideoStream:
        container.metadata.update(self._tags)
        codec = CODECS[self._codec]
        stream = cast(
            "VideoStream",
            container.add_stream(
                self._encoder, rate=self._video.rate, options=dict(self._encoder_options)
            ),
        )
        stream.time_base = self._video.frame_time
        configure_encoder(stream.codec_context, self._video)
        if codec.mp4_tag and self._container in ("mp4", "mov"):
            stream.codec_context.codec_tag = codec.mp4_tag
        container.start_encoding()
        return stream
