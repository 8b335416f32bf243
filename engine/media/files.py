"""Input media files: safe opening, and detection of their kind."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import BinaryIO

from sana_stream._files import require_regular_file
from sana_stream._text import safe_text
from sana_stream.errors import ConfigError

HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1"}
AVIF_BRANDS = {b"avif", b"avis"}
_STILL = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM", b"8BPS")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def open_given(path: str | Path) -> BinaryIO:
    """Open a file for reading; its name is never interpreted as a URL or an option.

    Raises:
        ConfigError: missing, unreadable, empty, or not a regular file.
    """
    name = safe_text(path)
    try:
        if not require_regular_file(Path(path)):
            raise ConfigError(f"{name} is empty")
        return open(path, "rb")
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        if _ADDRESS.match(os.fspath(path)) and isinstance(error, FileNotFoundError):
            raise ConfigError(f"{name} is an address: download it and give the file") from error
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{name} cannot be read: {reason}") from error


def brands(file: BinaryIO) -> set[bytes]:
    """Brands of an ISO base media file (MP4, HEIC, AVIF; ISO/IEC 14496-12); empty for others."""
    head = _head(file)
    if head[4:8] != b"ftyp":
        return set()
    size = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12]} | {head[i : i + 4] for i in range(16, size - 3, 4)}


def coding(file: BinaryIO) -> tuple[int, int]:
    """Read transfer characteristics and primaries (ITU-T H.273) of a PNG, HEIC or AVIF.

    Returns 2 and 2 (unspecified) if the file has none, or an SDR picture next to the HDR one.
    """
    head = _head(file, 1 << 16)
    place = head.find(b"cICP")
    if head.startswith(b"\x89PNG") and 0 <= place < len(head) - 6:
        return head[place + 5], head[place + 4]
    place = head.find(b"colrnclx") + 8
    if head[4:8] != b"ftyp" or place < 8 or b"tmap" in head:
        return 2, 2
    primaries, transfer = head[place : place + 2], head[place + 2 : place + 4]
    return int.from_bytes(transfer, "big"), int.from_bytes(primaries, "big")


def is_picture(file: BinaryIO) -> bool:
    """Whether a file's format is one of still images only."""
    head = _head(file)
    if head.startswith(b"\x89PNG"):
        return b"acTL" not in head  # an animated PNG is a clip
    riff = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return riff or head.startswith(_STILL) or bool(brands(file) & (HEIF_BRANDS | AVIF_BRANDS))


def _head(file: BinaryIO, size: int = 1024) -> bytes:
    file.seek(0)
    head = file.read(size)
    file.seek(0)
    return head
