"""The boxes of ISO base media files (ISO/IEC 14496-12): four bytes of size, four of type."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

# How many bytes stand between a box's header and the boxes inside it.
_INNER = {"stsd": 8, "avc1": 78, "hvc1": 78, "av01": 78, "vp09": 78}


@dataclass(frozen=True, slots=True)
class Box:
    """Where a box lies: its type, the position of its header and of its content, its end."""

    kind: str
    start: int
    content: int
    end: int


def box(kind: str, *parts: bytes) -> bytes:
    """A box with so much content."""
    return struct.pack(">I4s", 8 + sum(map(len, parts)), kind.encode()) + b"".join(parts)


def walk(data: bytes | BinaryIO, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes of one level, one after the other; stops before one that is not there whole."""
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    limit = file.seek(0, io.SEEK_END) if end is None else end
    while start + 8 <= limit:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        content = start + 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            content += 8
        if size < content - start or start + size > limit:
            return
        yield Box(kind.decode("latin-1"), start, content, start + size)
        start += size


def children(data: bytes, kind: str = "") -> Iterator[tuple[str, bytes]]:
    """The boxes inside the content of a box of this kind, each as its kind and its content."""
    for inner in walk(data, _INNER.get(kind, 0)):
        yield inner.kind, data[inner.content : inner.end]


def find(data: bytes, *path: str) -> bytes:
    """The content of the first box along a path of kinds; KeyError where there is none."""
    kind = ""
    for wanted in path:
        for inner, content in children(data, kind):
            if inner == wanted:
                data, kind = content, inner
                break
        else:
            raise KeyError(wanted)
    return data
