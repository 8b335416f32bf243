"""The boxes of ISO base media files (four bytes of size, four of type), and reading fragments.

Boxes and their fields: ISO/IEC 14496-12; those of fragments: 8.8.
"""

from __future__ import annotations

import io
import struct
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

# bytes between the header of a box and the boxes inside it
_INNER = {"stsd": 8, "avc1": 78, "hvc1": 78, "av01": 78, "vp09": 78}


@dataclass(frozen=True, slots=True)
class Box:
    """A box: its type, and the positions of its header, its content and its end."""

    kind: str
    start: int
    content: int
    end: int


def box(kind: str, *parts: bytes) -> bytes:
    """A box with this content."""
    return struct.pack(">I4s", 8 + sum(map(len, parts)), kind.encode()) + b"".join(parts)


def table(kind: str, rows: Iterable[tuple[int, ...]], *entries: bytes, number: str = "I") -> bytes:
    """A full box that counts its rows of numbers, or its entries."""
    packed = [struct.pack(f">{len(row)}{number}", *row) for row in rows]
    packed += entries
    return box(kind, struct.pack(">II", 0, len(packed)), *packed)


def walk(data: bytes | BinaryIO, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes of one level, in order, up to the last complete one."""
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
    """The content of the first box on a path of types; KeyError if there is none."""
    kind = ""
    for wanted in path:
        for inner, content in children(data, kind):
            if inner == wanted:
                data, kind = content, inner
                break
        else:
            raise KeyError(wanted)
    return data


# the optional fields of a sample in a `trun`, in their order, as bits of its flags
_FIELDS = _DURATION, _SIZE, _FLAGS, _OFFSET = 0x100, 0x200, 0x400, 0x800
_NOT_A_KEY = 0x10000  # bit of a sample's flags


@dataclass(frozen=True, slots=True)
class AudioRun:
    """The sound in a fragment."""

    data: int  # position of the first sample
    sizes: array[int]  # bytes


@dataclass(frozen=True, slots=True)
class Fragment:
    """One `moof` and its `mdat`; arrays have one entry for each video sample, in decoding order."""

    start: int  # position of the `moof`
    end: int  # position after the `mdat`
    data: int  # position of the first sample
    time: int  # decode time of the first sample, in ticks of the track
    sizes: array[int]  # bytes
    offsets: array[int]  # ticks from decoding to presentation, may be negative
    keys: tuple[int, ...]  # which samples are key frames, from 0
    audio: AudioRun | None = None


def fragments(file: BinaryIO, start: int = 0, end: int | None = None) -> Iterator[Fragment]:
    """The complete fragments between two positions of a file, in order."""
    head: Box | None = None
    for part in walk(file, start, end):
        if part.kind == "moof":
            head = part
        elif part.kind == "mdat" and head is not None and head.end == part.start:
            file.seek(head.content)
            yield _fragment(file.read(head.end - head.content), head.start, part.end)
            head = None


def _fragment(moof: bytes, start: int, end: int) -> Fragment:
    traf = find(moof, "traf")
    tfdt, trun = find(traf, "tfdt"), find(traf, "trun")
    (time,) = struct.unpack_from(">Q" if tfdt[0] else ">I", tfdt, 4)
    default_size, default_flags = _defaults(find(traf, "tfhd"))
    word, count, data = struct.unpack_from(">IIi", trun)
    present = [bit for bit in _FIELDS if word & bit]
    fields = struct.unpack_from(f">{count * len(present)}i", trun, 16 if word & 4 else 12)

    def column(bit: int, default: int) -> array[int]:
        if bit in present:
            return array("i", fields[present.index(bit) :: len(present)])
        return array("i", [default]) * count

    flags = column(_FLAGS, default_flags)
    if word & 4:
        (flags[0],) = struct.unpack_from(">i", trun, 12)
    keys = tuple(number for number, flag in enumerate(flags) if not flag & _NOT_A_KEY)
    return Fragment(
        *(start, end, start + data, time, column(_SIZE, default_size), column(_OFFSET, 0), keys),
        _audio(moof, start),
    )


def _audio(moof: bytes, start: int) -> AudioRun | None:
    """The sound in the second track of a fragment."""
    trafs = [content for kind, content in children(moof) if kind == "traf"]
    if len(trafs) < 2:
        return None
    trun = find(trafs[1], "trun")
    word, count, data = struct.unpack_from(">IIi", trun)
    present = [bit for bit in _FIELDS if word & bit]
    fields = struct.unpack_from(f">{count * len(present)}i", trun, 16 if word & 4 else 12)
    if _SIZE in present:
        sizes = array("i", fields[present.index(_SIZE) :: len(present)])
    else:
        sizes = array("i", [_defaults(find(trafs[1], "tfhd"))[0]]) * count
    return AudioRun(start + data, sizes)


def _defaults(tfhd: bytes) -> tuple[int, int]:
    """The default size and flags of samples without their own."""
    (word,) = struct.unpack_from(">I", tfhd)
    values = dict.fromkeys((0x10, 0x20), 0)
    position = 8
    for bit, length in ((0x1, 8), (0x2, 4), (0x8, 4), (0x10, 4), (0x20, 4)):
        if word & bit:
            if bit in values:
                (values[bit],) = struct.unpack_from(">i", tfhd, position)
            position += length
    return values[0x10], values[0x20]
