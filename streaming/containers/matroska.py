"""Matroska and WebM as clusters, at least one for each block, with an index at the end.

The header reserves space for what is only known at the end: the position of the index, the duration
and the size of the file. Element names and order: RFC 9559.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO

from sana_stream.streaming.video_format import StreamSpec

from . import ebml
from .block_container import SingleBlockContainer
from .chapters import Chapter
from .ebml import Element

if TYPE_CHECKING:
    from sana_stream.engine.block import Block, BlockPart


_UNKNOWN_SIZE = b"\x01" + b"\xff" * 7
_DURATION_ROOM = 11  # bytes of a duration with its header
_SIMPLE_BLOCK, _BLOCK_GROUP, _BLOCK = 0xA3, 0xA0, 0xA1
_VIDEO_TRACK = b"\x81"  # track 1


@dataclass(frozen=True, slots=True)
class Layout:
    """The positions of the parts of a file that are written when it is finished."""

    segment: Element
    seek_room: Element
    duration_room: Element
    clusters: tuple[Element, ...]
    end: int  # position after the last complete cluster


def layout(file: BinaryIO) -> Layout:
    """Find the parts of a file."""
    end = ebml.length(file)
    segment = next(part for part in ebml.walk(file, 0, end) if part.kind == ebml.SEGMENT)
    parts = list(ebml.walk(file, segment.content, end if segment.end is None else segment.end))
    info = next(part for part in parts if part.kind == ebml.INFO)
    rooms = ebml.walk(file, info.content, info.end or end)
    clusters = tuple(part for part in parts if part.kind == ebml.CLUSTER)
    return Layout(
        segment,
        Element(ebml.VOID, segment.content, segment.content, info.start),
        next(
            room
            for room in rooms
            if room.kind in (ebml.VOID, ebml.DURATION) and room.end == room.start + _DURATION_ROOM
        ),
        clusters,
        clusters[-1].end or end if clusters else segment.content,
    )


def write_index(file: BinaryIO, frame_time: Fraction, chapters: Sequence[Chapter] = ()) -> None:
    """Add chapters, the index, the duration and the size; a file without clusters is unchanged."""
    found = layout(file)
    if not found.clusters:
        return
    base = found.segment.content
    times = [_time(file, cluster) for cluster in found.clusters]
    last = max(times[-1] + offset for offset in block_offsets(file, found.clusters[-1]))
    cues = ebml.element(
        ebml.CUES,
        *(
            _cue(time, cluster.start - base)
            for time, cluster in zip(times, found.clusters, strict=True)
        ),
    )
    file.seek(found.end)
    file.truncate()
    listed = _chapters(chapters, frame_time) if chapters else b""
    file.write(listed + cues)
    file.flush()
    places = {ebml.CHAPTERS: found.end - base} if chapters else {}
    places[ebml.CUES] = found.end + len(listed) - base
    _overwrite(file, found.duration_room, _duration(last + float(frame_time * 1000)))
    _overwrite(file, found.seek_room, _seek_head(places))
    size = found.end + len(listed) + len(cues) - base
    file.seek(base - 8)
    file.write((size | 1 << 56).to_bytes(8))
    file.flush()


def remove_index(file: BinaryIO) -> None:
    """Turn a finished file back into a sequence of clusters that can be appended to."""
    found = layout(file)
    file.seek(found.segment.content - 8)
    file.write(_UNKNOWN_SIZE)
    for room in (found.seek_room, found.duration_room):
        _overwrite(file, room, b"")
    file.truncate(found.end)
    file.flush()


def block_offsets(file: BinaryIO, cluster: Element) -> Iterator[int]:
    """The time of each video frame of a cluster, in milliseconds after the cluster's own time."""
    for part in ebml.walk(file, cluster.content, cluster.end or ebml.length(file)):
        inner = part
        if part.kind == _BLOCK_GROUP:
            blocks = ebml.walk(file, part.content, part.end or 0)
            inner = next(block for block in blocks if block.kind == _BLOCK)
        elif part.kind != _SIMPLE_BLOCK:
            continue
        file.seek(inner.content)
        if file.read(1) != _VIDEO_TRACK:
            continue
        yield struct.unpack(">h", file.read(2))[0]


def _time(file: BinaryIO, cluster: Element) -> int:
    for part in ebml.walk(file, cluster.content, cluster.end or ebml.length(file)):
        if part.kind == ebml.TIMESTAMP and part.end is not None:
            file.seek(part.content)
            return int.from_bytes(file.read(part.end - part.content))
    raise ValueError("a cluster without a time")


def _cue(time: int, position: int) -> bytes:
    place = (ebml.number(ebml.CUE_TRACK, 1), ebml.number(ebml.CUE_CLUSTER_POSITION, position))
    where = ebml.element(ebml.CUE_TRACK_POSITIONS, *place)
    return ebml.element(ebml.CUE_POINT, ebml.number(ebml.CUE_TIME, time), where)


def _duration(milliseconds: float) -> bytes:
    return ebml.identifier(ebml.DURATION) + b"\x88" + struct.pack(">d", milliseconds)


def _seek_head(places: Mapping[int, int]) -> bytes:
    entries = (
        ebml.element(
            ebml.SEEK,
            ebml.element(ebml.SEEK_ID, ebml.identifier(kind)),
            ebml.number(ebml.SEEK_POSITION, position),
        )
        for kind, position in places.items()
    )
    return ebml.element(ebml.SEEK_HEAD, *entries)


def _chapters(chapters: Sequence[Chapter], frame_time: Fraction) -> bytes:
    nanoseconds = frame_time * 10**9
    atoms = (
        ebml.element(
            ebml.CHAPTER_ATOM,
            ebml.number(ebml.CHAPTER_UID, number),
            ebml.number(ebml.CHAPTER_TIME_START, round(each.start * nanoseconds)),
            ebml.number(ebml.CHAPTER_TIME_END, round(each.end * nanoseconds)),
            ebml.element(
                ebml.CHAPTER_DISPLAY,
                ebml.element(ebml.CHAPTER_STRING, each.name),
                ebml.element(ebml.CHAPTER_LANGUAGE, b"und"),
            ),
        )
        for number, each in enumerate(chapters, 1)
    )
    return ebml.element(ebml.CHAPTERS, ebml.element(ebml.EDITION_ENTRY, *atoms))


def _overwrite(file: BinaryIO, room: Element, data: bytes) -> None:
    """Write data into a reserved element; what is left of it stays reserved."""
    assert room.end is not None
    left = room.end - room.start - len(data)
    file.seek(room.start)
    file.write(data + (ebml.void(left) if left else b""))


OPTIONS = {"cluster_time_limit": "30000", "cluster_size_limit": "1000000000"}


class MatroskaMuxer:
    """Muxes one Matroska or WebM stream; `container` is "matroska" or "webm".

    Each block becomes complete clusters with the times of the stream, so the file is playable up to
    the last block. `finish` adds the index, the duration and the size.
    """

    def __init__(self, spec: StreamSpec, container: str = "matroska") -> None:
        sound = "libopus" if container == "webm" else "aac"
        self._blocks = SingleBlockContainer(container, OPTIONS, spec, sound)
        self._header = self._blocks.header()
        self._takes_chapters = container == "matroska"  # not every reader of WebM knows them
        self._frame_time = spec.video.frame_time

    def header(self) -> bytes:
        """Everything before the first cluster."""
        return self._header

    def add(self, block: Block | BlockPart) -> bytes:
        """The clusters of one block."""
        whole = self._blocks.add(block)
        parts = ebml.walk(io.BytesIO(whole), len(self._header), len(whole))
        return b"".join(whole[part.start : part.end] for part in parts if part.kind == ebml.CLUSTER)

    def trailer(self) -> bytes:
        """No bytes: a sequence of clusters needs no end."""
        return b""

    def finish(self, file: BinaryIO, chapters: Sequence[Chapter] = ()) -> None:
        """Make the file seekable and write its duration and, in Matroska, its chapters."""
        write_index(file, self._frame_time, chapters if self._takes_chapters else ())
