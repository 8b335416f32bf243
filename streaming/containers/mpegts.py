"""The packets of an MPEG transport stream: their frames, and their counters. ISO/IEC 13818-1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

PACKET = 188  # bytes
_SYNC = 0x47
_VIDEO, _SOUND = range(0xE0, 0xF0), range(0xC0, 0xE0)  # stream identifiers


def frame_ends(file: BinaryIO) -> Iterator[int]:
    """The position after each frame of an MPEG transport stream, in the order of the file.

    Tables before a frame belong to that frame, sound after it too: a block begins with its tables,
    and its first packet is video. Stops at the first incomplete packet.
    """
    inside, end = False, 0
    for position, begins, kind in _packets(file):
        if begins and kind is _VIDEO:
            if inside:
                yield end
            inside = True
        if kind is not None:
            end = position + PACKET
    if inside:
        yield end


def _packets(file: BinaryIO) -> Iterator[tuple[int, bool, range | None]]:
    """Each packet's position, whether a unit begins in it, and whether it is video or sound."""
    kinds: dict[int, range] = {}
    position = file.seek(0)
    while len(packet := file.read(PACKET)) == PACKET and packet[0] == _SYNC:
        begins = bool(packet[1] & 0x40)
        identifier = int.from_bytes(packet[1:3]) & 0x1FFF
        if begins and identifier not in kinds and (kind := _kind(packet)) is not None:
            kinds[identifier] = kind
        yield position, begins, kinds.get(identifier)
        position += PACKET


def _kind(packet: bytes) -> range | None:
    content = 4
    if packet[3] & 0x20:  # an adaptation field comes first
        content += 1 + packet[4]
    head = packet[content : content + 4]
    if head[:3] != b"\x00\x00\x01":
        return None
    return next((kind for kind in (_VIDEO, _SOUND) if head[3] in kind), None)


def continue_counters(data: bytes, counters: dict[int, int]) -> bytes:
    """The packets of a block, whose continuity counters follow those of the blocks before.

    Args:
        data: whole packets, of which the first of each identifier announces a discontinuity.
        counters: of each identifier, the next counter; it is brought up to date. Where it has one,
            the announcement is removed.
    """
    packets = np.frombuffer(data, np.uint8).reshape(-1, PACKET).copy()
    identifiers = (packets[:, 1].astype(int) & 0x1F) << 8 | packets[:, 2]
    for identifier in map(int, np.unique(identifiers)):
        rows = np.flatnonzero(identifiers == identifier)
        filled = np.cumsum(packets[rows, 3] >> 4 & 1)  # only packets with content are counted
        following = counters.get(identifier)
        if following is not None and packets[rows[0], 3] & 0x20 and packets[rows[0], 4]:
            packets[rows[0], 5] &= 0x7F
        values = (following or 0) + filled.astype(int) - 1
        packets[rows, 3] = packets[rows, 3] & 0xF0 | (values % 16).astype(np.uint8)
        counters[identifier] = int(values[-1] + 1) % 16
    return packets.tobytes()
