"""User data in H.264 and H.265 packets, for MPEG-TS, which has no place for longer metadata.

An unregistered user data message (SEI, payload type 5): ITU-T H.264, D.1.6; H.265, D.2.7.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import av

if TYPE_CHECKING:
    from av.packet import Packet

_UUID = bytes.fromhex("5a1c7e2b9d644f3ab8e6213f70c4d915")  # of this program's messages
_START = re.compile(rb"\x00?\x00\x00\x01(.)", re.DOTALL)
_HEADERS = {"h264": b"\x06", "h265": b"\x4e\x01"}  # prefix SEI


def add_user_data(packet: Packet, codec: str, text: str) -> Packet:
    """A packet in Annex B form with a text before its first slice.

    Args:
        packet: of `codec`, with start codes.
        codec: "h264" or "h265".
        text: ASCII.
    """
    data = bytes(packet)
    place = next(found.start() for found in _START.finditer(data) if _is_slice(codec, found[1][0]))
    marked = av.Packet(data[:place] + _message(codec, text) + data[place:])
    marked.pts, marked.dts, marked.time_base = packet.pts, packet.dts, packet.time_base
    marked.is_keyframe = packet.is_keyframe
    return marked


def _is_slice(codec: str, header: int) -> bool:
    return 1 <= header & 31 <= 5 if codec == "h264" else header >> 1 & 63 < 32


def _message(codec: str, text: str) -> bytes:
    payload = _UUID + text.encode("ascii")  # has no zero bytes, so it needs no escapes
    size = b"\xff" * (len(payload) // 255) + bytes([len(payload) % 255])
    return b"\x00\x00\x00\x01" + _HEADERS[codec] + b"\x05" + size + payload + b"\x80"
