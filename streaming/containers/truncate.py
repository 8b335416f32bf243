"""Resuming a file of an earlier run: its first frames are kept, byte for byte."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av

from . import matroska, mp4, mpegts
from .ebml import length

Unit = tuple[int, int]
"""How many frames cannot be parted, and the position after them."""

# how the readers of a container's parts fail on bytes that are none
_UNREADABLE = (
    struct.error,
    KeyError,
    IndexError,
    StopIteration,
    AssertionError,
    OverflowError,
    RuntimeError,
)


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a file is to be cut off: a position in bytes, and whether no frame lies after it."""

    position: int
    last: bool


def find_cut(file: BinaryIO, container: str, frames: int) -> Cut:
    """Where the first `frames` frames of a file end; the file is only read.

    `container` is a name of `CONTAINERS` that files have.

    Raises:
        ValueError: the file is damaged, has fewer frames, or no block ends there.
    """
    found = 0
    try:
        units = _units(file, container)
        for count, end in units:
            found += count
            if found == frames:
                return Cut(end, last=next(units, None) is None)
            if found > frames:
                raise ValueError(f"no block ends after {frames} frames")
    except _UNREADABLE as error:
        raise ValueError(f"it is damaged after {found} frames") from error
    raise ValueError(f"only {found} whole frames are in it, {frames} are needed")


def truncate_to_frames(file: BinaryIO, container: str, frames: int) -> None:
    """Keep the first `frames` frames of a file and make it ready to grow.

    An index that a clean end has added is taken out again. `file` is open for reading and writing.

    Raises:
        ValueError: as `find_cut`; the file is as it was.
    """
    cut = find_cut(file, container, frames)
    match container:
        case "mp4" | "mov":
            mp4.remove_index(file)
        case "matroska" | "webm":
            matroska.remove_index(file)
    file.seek(cut.position)
    file.truncate()


def count_frames(path: Path) -> int:
    """How many frames a complete video file has."""
    with path.open("rb") as file, av.open(file, "r") as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


def _units(file: BinaryIO, container: str) -> Iterator[Unit]:
    match container:
        case "mp4" | "mov":
            return ((len(part.sizes), part.end) for part in mp4.all_fragments(file))
        case "matroska" | "webm":
            return _clusters(file)
        case "mpegts":
            return ((1, end) for end in mpegts.frame_ends(file))
        case "y4m":
            return _pictures(file)
    raise ValueError(f"{container} files cannot be resumed")


def _clusters(file: BinaryIO) -> Iterator[Unit]:
    for cluster in matroska.layout(file).clusters:
        assert cluster.end is not None
        yield sum(1 for _ in matroska.block_offsets(file, cluster)), cluster.end


def _pictures(file: BinaryIO) -> Iterator[Unit]:
    """YUV4MPEG2: a line that tells the size, then pictures in 4:2:0, each behind its own line."""
    size = length(file)
    file.seek(0)
    words = file.read(200).split(b"\n")[0]
    tags = {word[:1]: word[1:] for word in words.split()}
    width, height = int(tags[b"W"]), int(tags[b"H"])
    picture = len(b"FRAME\n") + width * height + 2 * (-(-width // 2) * -(-height // 2))
    end = len(words) + 1 + picture
    while end <= size:
        yield 1, end
        end += picture
