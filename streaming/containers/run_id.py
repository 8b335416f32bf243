"""The id of a run in everything that it writes; a checkpoint and its video have the same id.

MP4, MOV, Matroska and WebM have it in the `comment` tag, MPEG-TS in the provider of the service,
YUV4MPEG2 in a parameter of the first line, PNG in a `tEXt` chunk, playlists and captions in a
comment. A file without an id was not written by this program.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from sana_stream._files import parse_json, require_regular_file
from sana_stream.streaming.run_mark import run_mark

from .mp4_boxes import walk

_PATTERN = re.compile(rb"(?:%b| XRUN=)([0-9a-f]{16})" % re.escape(run_mark("")).encode())
_TAGGED = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "matroska"}
_HEAD = 1 << 16  # bytes; headers of the other formats are shorter
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read_run(path: Path) -> str | None:
    """Read the id of the run that wrote a file; None if it has none or cannot be read."""
    import av  # late: what only needs the mark is part of the command line's start
    from av.error import FFmpegError

    try:
        require_regular_file(path)
        name = _TAGGED.get(path.suffix.lower())
        with path.open("rb") as file:
            if name is None:
                return _find(file.read(_HEAD))
            with av.open(_tagged_part(file), format=name) as container:
                comment = container.metadata.get("comment") or container.metadata.get("COMMENT")
        tags = parse_json(comment or "{}", limit=_HEAD)
        return _find(str(tags.get("run")).encode()) if isinstance(tags, dict) else None
    except (OSError, ValueError, FFmpegError):
        return None


def has_sound(path: Path) -> bool:
    """Whether a video file of this program, complete or not, has sound; raises OSError."""
    import av
    from av.error import FFmpegError

    if (name := _TAGGED.get(path.suffix.lower())) is None and path.suffix.lower() != ".ts":
        return False
    try:
        with path.open("rb") as file, av.open(_tagged_part(file), format=name) as container:
            return bool(container.streams.audio)
    except (ValueError, FFmpegError):
        return False


def mark_png(png: bytes, run: str | None, xmp: bytes | None = None) -> bytes:
    """Add a run's id and an XMP packet to a PNG picture, after its header.

    The id is a `tEXt` chunk, the packet an `iTXt` chunk (PNG third edition, 11.3.3; ISO 16684-3).
    """
    end = len(_SIGNATURE) + 25  # of the header chunk
    chunks = b"" if run is None else _chunk(b"tEXtSoftware\0" + run_mark(run).encode())
    if xmp is not None:
        chunks += _chunk(b"iTXtXML:com.adobe.xmp" + bytes(5) + xmp)
    return png[:end] + chunks + png[end:]


def _chunk(content: bytes) -> bytes:
    return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))


def _tagged_part(file: BinaryIO) -> BinaryIO:
    """The file, or of a growing MP4 only what precedes its fragments: libav refuses a torn one."""
    parts = list(islice(walk(file), 3))
    file.seek(0)
    if [part.kind for part in parts] == ["ftyp", "free", "moov"]:
        return io.BytesIO(file.read(parts[-1].end))
    return file


def _find(data: bytes) -> str | None:
    found = _PATTERN.search(data)
    return None if found is None else found[1].decode()
