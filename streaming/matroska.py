"""Matroska and WebM as a row of clusters, at least one a block, with an index at the end."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

from . import ebml
from .format import Encoding, Tags, VideoFormat
from .matroska_index import write_index
from .slices import Slicer

if TYPE_CHECKING:
    from ..engine.block import Block

OPTIONS = {"cluster_time_limit": "30000", "cluster_size_limit": "1000000000"}


class MatroskaMuxer:
    """One Matroska or WebM stream; `container` is "matroska" or "webm".

    Each block is whole clusters whose times are the stream's own, so what is written is complete
    up to the last block. `finish` adds the index, the duration and the size.
    """

    def __init__(
        self, video: VideoFormat, encoding: Encoding, tags: Tags, container: str = "matroska"
    ) -> None:
        self._slicer = Slicer(container, OPTIONS, video, encoding, tags)
        self._header = self._slicer.header()
        self._frame_time = video.frame_time

    def header(self) -> bytes:
        """Everything before the first cluster."""
        return self._header

    def add(self, block: Block) -> bytes:
        """The clusters of one block."""
        whole = self._slicer.slice(block)
        parts = ebml.walk(io.BytesIO(whole), len(self._header), len(whole))
        return b"".join(whole[part.start : part.end] for part in parts if part.kind == ebml.CLUSTER)

    def trailer(self) -> bytes:
        """Nothing: a row of clusters simply ends."""
        return b""

    def finish(self, file: BinaryIO) -> None:
        """Make the file seekable and say how long it is."""
        write_index(file, self._frame_time)
