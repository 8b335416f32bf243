"""Headers and sample tables of a finished MP4 or MOV track. Boxes: ISO/IEC 14496-12, 8.2 to 8.7."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator

from .mp4_boxes import box


def long_header(content: bytes, middle: bytes, duration: int) -> bytes:
    """Convert a header box of version 0 to version 1, which has a 64-bit duration."""
    created, modified = struct.unpack_from(">II", content, 4)
    rest = content[16 + len(middle) :]
    times = struct.pack(">QQ", created, modified)
    return b"\x01" + content[1:4] + times + middle + struct.pack(">Q", duration) + rest


def edit_list(duration: int, shift: int) -> bytes:
    """An edit list that starts the track at its first frame, whatever the reordering delay."""
    return box("edts", box("elst", struct.pack(">IIQqI", 1 << 24, 1, duration, shift, 1 << 16)))


def changes(values: list[int]) -> Iterator[tuple[int, int]]:
    """Each value that differs from the one before it, with its position from 1."""
    before = None
    for position, value in enumerate(values, 1):
        if value != before:
            yield position, value
        before = value


def big_endian(values: array[int]) -> bytes:
    return struct.pack(f">{len(values)}I", *values)
