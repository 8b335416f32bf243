"""Reading back an MPEG transport stream: where each frame of its video ends (ISO/IEC 13818-1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

PACKET = 188  # bytes
_SYNC = 0x47
_VIDEO = range(0xE0, 0xF0)  # stream identifiers of video


def frame_ends(file: BinaryIO) -> Iterator[int]:
    """The position after each frame, in the order of the file; the tables before the next one
    belong to that one. Stops at the first thing that is not a whole packet."""
    inside, end = False, 0
    for position, begins, is_video in _packets(file):
        if begins and is_video:
            if inside:
                yield end
            inside = True
        if is_video:
            end = position + PACKET
    if inside:
        yield end


def _packets(file: BinaryIO) -> Iterator[tuple[int, bool, bool]]:
    """Each packet's position, whether it begins something, and whether that is video."""
    video: int | None = None
    position = file.seek(0)
    while len(packet := file.read(PACKET)) == PACKET and packet[0] == _SYNC:
        begins = bool(packet[1] & 0x40)
        identifier = int.from_bytes(packet[1:3]) & 0x1FFF
        if begins and video is None and _begins_video(packet):
            video = identifier
        yield position, begins, identifier == video
        position += PACKET


def _begins_video(packet: bytes) -> bool:
    content = 4
    if packet[3] & 0x20:  # an adaptation field comes first
        content += 1 + packet[4]
    head = packet[content : content + 4]
    return head[:3] == b"\x00\x00\x01" and head[3] in _VIDEO
