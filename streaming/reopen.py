"""Going on with a file of an earlier run: its first frames are kept, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import av

from . import matroska_index, mp4_index, mpegts
from .ebml import length
from .fragments import fragments

Unit = tuple[int, int]
"""How many frames cannot be parted, and the position after them."""


def cut_back(file: BinaryIO, container: str, frames: int) -> None:
    """Keep the first `frames` frames of a file and make it ready to grow.

    An index that a clean end has added is taken out again. `file` is open for reading and
    writing; `container` is a name of `CONTAINERS` that files have.

    Raises:
        ValueError: the file has fewer frames, or no block ends there; it still plays.
    """
    found = 0
    for count, end in _units(file, container):
        found += count
        if found == frames:
            file.seek(end)
            file.truncate()
            return
        if found > frames:
            raise ValueError(f"no block ends after {frames} frames")
    raise ValueError(f"only {found} whole frames are in it, {frames} are needed")


def count_frames(path: Path) -> int:
    """How many frames a complete video file has."""
    with av.open(str(path)) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


def _units(file: BinaryIO, container: str) -> Iterator[Unit]:
    match container:
        case "mp4" | "mov":
            mp4_index.remove_index(file)
            return ((len(part.sizes), part.end) for part in fragments(file))
        case "matroska" | "webm":
            return _clusters(file)
        case "mpegts":
            return ((1, end) for end in mpegts.frame_ends(file))
        case "y4m":
            return _pictures(file)
    raise ValueError(f"{container} files cannot be gone on with")


def _clusters(file: BinaryIO) -> Iterator[Unit]:
    matroska_index.remove_index(file)
    for cluster in matroska_index.layout(file).clusters:
        assert cluster.end is not None
        yield sum(1 for _ in matroska_index.block_offsets(file, cluster)), cluster.end


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
