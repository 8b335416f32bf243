"""MP4 and MOV as a row of fragments, one a block, that becomes an ordinary file at its end."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, BinaryIO

from .boxes import box, find, walk
from .format import Encoding, Tags, VideoFormat
from .fragments import fragments
from .mp4_index import write_index
from .slices import Slicer

if TYPE_CHECKING:
    from ..engine.block import Block

OPTIONS = {
    # An empty `moov` in front, then one `moof`+`mdat` a block with the stream's own time in it.
    "movflags": "empty_moov+default_base_moof+frag_discont+negative_cts_offsets+skip_trailer",
    "use_editlist": "0",
    "avoid_negative_ts": "disabled",
}


class Fragmenter:
    """Blocks as MP4 fragments, for files and for browsers alike.

    `container` is "mp4" or "mov". Each fragment begins with a key frame and can be played after
    `init` alone; its base decode time is the block's start.
    """

    def __init__(
        self, video: VideoFormat, encoding: Encoding, tags: Tags, container: str = "mp4"
    ) -> None:
        self._slicer = Slicer(container, OPTIONS, video, encoding, tags)
        self.init = self._slicer.header()
        self._frame_time = video.frame_time

    def fragment(self, block: Block) -> bytes:
        """One block: a `moof` box and its `mdat`."""
        return self._slicer.slice(block)[len(self.init) :]

    def frames(self, fragment: bytes) -> range:
        """Which frames of the stream are in a fragment; empty for one that is not whole."""
        (ticks,) = struct.unpack_from(">I", find(self.init, "moov", "trak", "mdia", "mdhd"), 12)
        part = next(fragments(io.BytesIO(fragment)), None)
        start = 0 if part is None else round(part.time / (ticks * self._frame_time))
        return range(start, start + (0 if part is None else len(part.sizes)))

    def mime(self) -> str:
        """The type that a browser's Media Source Extensions ask for; h264 only."""
        avcc = find(self.init, "moov", "trak", "mdia", "minf", "stbl", "stsd", "avc1", "avcC")
        return f'video/mp4; codecs="avc1.{avcc[1:4].hex()}"'


class Mp4Muxer:
    """One MP4 or MOV file.

    While it grows it is a fragmented file, playable up to the last block written. `finish` adds
    an index of all fragments and turns everything before it into the data of an ordinary file by
    overwriting 16 bytes, so that no moment finds the file unreadable.
    """

    def __init__(
        self, video: VideoFormat, encoding: Encoding, tags: Tags, container: str = "mp4"
    ) -> None:
        self._fragments = Fragmenter(video, encoding, tags, container)
        self._frame_time = video.frame_time

    def header(self) -> bytes:
        """File type, 16 spare bytes for the later `mdat` header, and the `moov` of the codec."""
        init = self._fragments.init
        first = next(walk(init))
        return init[: first.end] + box("free", bytes(8)) + init[first.end :]

    def add(self, block: Block) -> bytes:
        """One fragment."""
        return self._fragments.fragment(block)

    def trailer(self) -> bytes:
        """Nothing: a fragmented stream simply ends."""
        return b""

    def finish(self, file: BinaryIO) -> None:
        """Make the file an ordinary one, with its index at the end."""
        write_index(file, self._frame_time)
