"""The elements of Matroska and WebM (RFC 8794): an identifier, a size and a content."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

SEGMENT = 0x18538067
SEEK_HEAD, SEEK, SEEK_ID, SEEK_POSITION = 0x114D9B74, 0x4DBB, 0x53AB, 0x53AC
INFO, DURATION, TIMESTAMP_SCALE = 0x1549A966, 0x4489, 0x2AD7B1
CLUSTER, TIMESTAMP = 0x1F43B675, 0xE7
CUES, CUE_POINT, CUE_TIME, CUE_TRACK_POSITIONS = 0x1C53BB6B, 0xBB, 0xB3, 0xB7
CUE_TRACK, CUE_CLUSTER_POSITION = 0xF7, 0xF1
VOID = 0xEC
CHAPTERS, EDITION_ENTRY, CHAPTER_ATOM, CHAPTER_UID = 0x1043A770, 0x45B9, 0xB6, 0x73C4
CHAPTER_TIME_START, CHAPTER_TIME_END = 0x91, 0x92
CHAPTER_DISPLAY, CHAPTER_STRING, CHAPTER_LANGUAGE = 0x80, 0x85, 0x437C


@dataclass(frozen=True, slots=True)
class Element:
    """The position of an element; `end` is None if its size was unknown when it was written."""

    kind: int
    start: int
    content: int
    end: int | None


def walk(file: BinaryIO, start: int, end: int) -> Iterator[Element]:
    """The elements of one level, in order, up to the last complete one."""
    while start < end:
        file.seek(start)
        kind, _ = _number(file, keep_marker=True)
        size, unknown = _number(file, keep_marker=False)
        content = file.tell()
        if unknown and kind:
            yield Element(kind, start, content, None)
            return
        if not kind or content + size > end:
            return
        yield Element(kind, start, content, content + size)
        start = content + size


def length(file: BinaryIO) -> int:
    """The size of a file in bytes."""
    return file.seek(0, io.SEEK_END)


def _number(file: BinaryIO, keep_marker: bool) -> tuple[int, bool]:
    """Read a number of variable length, and whether all its bits are set; 0 at the end."""
    first = file.read(1)
    if not first or not first[0]:
        return 0, True
    count = 9 - first[0].bit_length()
    rest = file.read(count - 1)
    if len(rest) < count - 1:
        return 0, True
    value = int.from_bytes(first + rest)
    bare = value & ~(1 << 7 * count)
    return (value if keep_marker else bare), bare == (1 << 7 * count) - 1


def element(kind: int, *parts: bytes) -> bytes:
    """An element with this content; its size takes 8 bytes."""
    size = sum(map(len, parts)) | 1 << 56
    return identifier(kind) + size.to_bytes(8) + b"".join(parts)


def number(kind: int, value: int) -> bytes:
    """An element that holds an unsigned number."""
    return element(kind, value.to_bytes(8))


def void(size: int) -> bytes:
    """A void element of `size` bytes in total, at least 9."""
    return element(VOID, bytes(size - 9))


def identifier(kind: int) -> bytes:
    """The bytes of an element's identifier."""
    return kind.to_bytes((kind.bit_length() + 7) // 8)
