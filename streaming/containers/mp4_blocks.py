"""The blocks in an MP4 or MOV recording of this program, each as a file of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from .mp4 import SPARE, all_fragments
from .mp4_boxes import walk
from .truncate import UNREADABLE

SUFFIXES = (".mp4", ".mov")


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A block in a file: its first frame, and its positions, which never change."""

    frame: int
    start: int
    end: int


def stored_blocks(file: BinaryIO, frames: int) -> Iterator[StoredBlock]:
    """The blocks of the first `frames` frames of a file, finished or growing.

    Raises:
        OSError, ValueError: the file is damaged.
    """
    frame = 0
    try:
        for part in all_fragments(file):
            if frame >= frames:
                return
            yield StoredBlock(frame, part.start, part.end)
            frame += len(part.sizes)
    except UNREADABLE as error:
        raise ValueError(f"it is damaged after {frame} frames") from error


def read_block(file: BinaryIO, block: StoredBlock) -> bytes:
    """A block as an MP4 file, which can be decoded alone.

    Raises:
        OSError, ValueError: the file is damaged, or another one.
    """
    head = next(walk(file), None)
    start = 0 if head is None else head.end + SPARE  # a finished file has an `mdat` before it
    end = next((part.start for part in walk(file, start) if part.kind == "moof"), None)
    if head is None or end is None:
        raise ValueError("no block is in it")
    return _part(file, 0, head.end) + _part(file, start, end) + _part(file, block.start, block.end)


def _part(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)
