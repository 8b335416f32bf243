"""Streaming containers: MPEG-TS, NUT and FLV."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO

from sana_stream.streaming.audio import SAMPLE_RATE
from sana_stream.streaming.run_mark import run_mark
from sana_stream.streaming.video_format import Metadata, StreamSpec

from .block_container import SingleBlockContainer
from .mpegts import continue_counters
from .sei import add_user_data

if TYPE_CHECKING:
    from av.packet import Packet

    from sana_stream.engine.block import Block, BlockPart

    from .chapters import Chapter

OPTIONS = {
    # counters may jump at the first packets: a file may continue that of an earlier run
    "mpegts": {"flush_packets": "1", "mpegts_flags": "initial_discontinuity"},
    "nut": {"flush_packets": "1", "write_index": "0"},
    "flv": {"flush_packets": "1", "flvflags": "no_duration_filesize+no_sequence_end"},
}
_SHIFTS_NOTHING = {"avoid_negative_ts": "disabled"}  # it would depend on the block
_LONGEST_NAME = 200  # bytes
_LONGEST_PROMPT = 10_000  # characters of a prompt in a block's user data
_LAG = 2  # frames from decoding to presentation, in every block
_UNTAGGED = ("mpegts", "whip")  # containers without room for tags


def stream_tags(container: str, metadata: Metadata) -> dict[str, str]:
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


class BlockTimes:
    """Prepares the packets of each block for a container whose decode times may only increase.

    The video's are `_LAG` frames before presentation, in short blocks too; all times are shifted by
    as much, so that none is negative. A container without room for tags has the mark of generated
    media in the first packet of each block.
    """

    def __init__(self, container: str, spec: StreamSpec) -> None:
        self._frame_time = spec.video.frame_time
        self._codec = spec.encoder.codec or "h264"
        self._metadata = spec.metadata if container in _UNTAGGED else None

    def prepare(self, pictures: list[Packet], samples: list[Packet], prompt: str) -> None:
        """Change the packets of a block, its video's and its sound's, in place."""
        early = (pictures[0].pts or 0) - (pictures[0].dts or 0)
        for packet in pictures:
            packet.pts = (packet.pts or 0) + _LAG
            packet.dts = (packet.dts or 0) + early
        later = round(Fraction(_LAG * SAMPLE_RATE) * self._frame_time)
        for packet in samples:
            packet.pts = packet.dts = (packet.pts or 0) + later
        mark = None if self._metadata is None else self._metadata.ai_mark(prompt)
        if mark is not None:
            facts = mark.facts() | {"prompt": mark.prompts[:_LONGEST_PROMPT]}
            pictures[0] = add_user_data(pictures[0], self._codec, json.dumps(facts))


class StreamMuxer:
    """Muxes one stream into a streaming container; `container` is "mpegts", "nut" or "flv"."""

    def __init__(self, container: str, spec: StreamSpec) -> None:
        options = OPTIONS[container] | _SHIFTS_NOTHING
        tags, times = stream_tags(container, spec.metadata), BlockTimes(container, spec)
        self._blocks = SingleBlockContainer(container, options, spec, "aac", tags, times.prepare)
        self._header = self._blocks.header()
        self._counters: dict[int, int] | None = {} if container == "mpegts" else None

    def header(self) -> bytes:
        """The bytes with which the container begins."""
        return self._header

    def add(self, block: Block | BlockPart) -> bytes:
        """The block's packets."""
        data = self._blocks.add(block)[len(self._header) :]
        return data if self._counters is None else continue_counters(data, self._counters)

    def trailer(self) -> bytes:
        """No bytes: these containers need no end."""
        return b""

    def finish(self, file: BinaryIO, chapters: Sequence[Chapter] = ()) -> None:
        """Do nothing: these containers have no index and no chapters."""
