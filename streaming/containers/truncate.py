"""Truncating a file of an earlier run to its first frames, which are kept byte for byte."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from . import matroska, mp4, mpegts
from .ebml import length

Unit = tuple[int, int]
"""A number of frames that can only be kept together, and the position after them."""

# errors of the container readers on damaged files
UNREADABLE = (
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
    """Where to truncate a file: a position in bytes, and whether no frame is after it."""

    position: int
    last: bool


def find_cut(file: BinaryIO, container: str, frames: int) -> Cut:
    """Find the end of the first `frames` frames of a file; the file is only read.

    `container` is a name in `CONTAINERS` that has a file suffix.

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
    except UNREADABLE as error:
        raise ValueError(f"it is damaged after {found} frames") from error
    raise ValueError(f"only {found} whole frames are in it, {frames} are needed")


def truncate_to_frames(file: BinaryIO, container: str, frames: int) -> None:
    """Keep the first `frames` frames of a file, so that it can be appended to.

    The index of a finished file is removed. `file` is open for reading and writing.

    Raises:
        ValueError: as `find_cut`; the file is unchanged.
    """
    cut = find_cut(file, container, frames)
    match container:
        case "mp4" | "mov":
            mp4.remove_index(file)
        case "matroska" | "webm":
            matroska.remove_index(file)
    file.seek(cut.position)
    file.truncate()


def _units(file: BinaryIO, container: str) -> Iterator[Unit]:
    match container:
        case "mp4" | "mov":
            return ((len(part.sizes), part.end) for part in mp4.all_fragments(file))
        case "matroska" | "webm":
            return _clusters(file)
        case "mpegts":
            return ((1, end) for end in mpegts.frame_ends(file))
        case "y4m":
            return _y4m_frames(file)
    raise ValueError(f"{container} files cannot be resumed")


def _clusters(file: BinaryIO) -> Iterator[Unit]:
    for cluster in matroska.layout(file).clusters:
        assert cluster.end is not None
        yield sum(1 for _ in matroska.block_offsets(file, cluster)), cluster.end


def _y4m_frames(file: BinaryIO) -> Iterator[Unit]:
    """YUV4MPEG2: a line with the size, then frames in 4:2:0, each after a line of its own."""
    size = length(file)
    file.seek(0)
    words = file.read(200).split(b"\n")[0]
    parameters = {word[:1]: word[1:] for word in words.split()}
    width, height = int(parameters[b"W"]), int(parameters[b"H"])
    frame = len(b"FRAME\n") + width * height + 2 * (-(-width // 2) * -(-height // 2))
    end = len(words) + 1 + frame
    while end <= size:
        yield 1, end
        end += frame
