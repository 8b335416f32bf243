"""Encoding blocks into packets for the process that has the container."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

from av.codec.context import Flags

from sana_stream.errors import OutputError
from sana_stream.streaming.containers.encoder import explain_encoder_errors
from sana_stream.streaming.containers.streamed import BlockTimes
from sana_stream.streaming.containers.tracks import Tracks
from sana_stream.streaming.video_format import StreamSpec

from .relay_format import END, Description, pack_packets

if TYPE_CHECKING:
    from sana_stream.engine.block import Block, BlockPart
    from sana_stream.streaming.containers.chapters import Chapter


class RelayMuxer:
    """Encodes blocks for the child process, which has the container; the header is sent by it."""

    def __init__(self, described: Description, spec: StreamSpec) -> None:
        self._tracks = Tracks(spec, described.sound, described.encoder_options)
        self._times = BlockTimes(described.format, spec)
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
