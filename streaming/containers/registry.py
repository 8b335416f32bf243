"""Which containers there are, what they can hold, and who writes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, Protocol

from sana_stream.streaming.errors import TargetError
from sana_stream.streaming.video_format import Encoding, Tags, VideoFormat

from .matroska import MatroskaMuxer
from .mp4 import Mp4Muxer
from .mpegts import PacketMuxer
from .raw import RawMuxer, Y4mMuxer

if TYPE_CHECKING:
    from sana_stream.engine.block import Block


class Muxer(Protocol):
    """One stream in one container, as bytes: the header, then each block whole, then the end.

    The bytes given out so far are a playable stream after every call, complete to the last frame.
    """

    def header(self) -> bytes:
        """The bytes before the first block."""
        ...

    def add(self, block: Block) -> bytes | memoryview:
        """One block; nothing of it is held back."""
        ...

    def trailer(self) -> bytes:
        """The bytes after the last block, where nothing before them can be changed."""
        ...

    def finish(self, file: BinaryIO) -> None:
        """Complete a file that holds the header and all blocks: an index, the duration.

        `file` is open for reading and writing, at any position.
        """
        ...


@dataclass(frozen=True, slots=True)
class Container:
    """The codecs it can hold, the usual one first (none: bare pictures), and its file suffix."""

    codecs: tuple[str, ...]
    suffix: str | None


CONTAINERS = {
    "mp4": Container(("h264", "h265", "av1", "vp9"), ".mp4"),
    "mov": Container(("h264", "h265"), ".mov"),
    "matroska": Container(("h264", "h265", "av1", "vp9", "ffv1"), ".mkv"),
    "webm": Container(("vp9", "av1"), ".webm"),
    "mpegts": Container(("h264", "h265"), ".ts"),
    "nut": Container(("h264", "h265", "ffv1"), None),
    "flv": Container(("h264",), None),
    "y4m": Container((), ".y4m"),
    "rawvideo": Container((), None),
}
BY_SUFFIX = {kind.suffix: name for name, kind in CONTAINERS.items() if kind.suffix}


def make_muxer(container: str, video: VideoFormat, encoding: Encoding, tags: Tags) -> Muxer:
    """The writer of one stream in the container of this name.

    Raises TargetError for an unknown container or a codec that it cannot hold.
    """
    encoding = resolve(container, encoding)
    match container:
        case "rawvideo":
            return RawMuxer()
        case "y4m":
            return Y4mMuxer(video, tags.run)
        case "mp4" | "mov":
            return Mp4Muxer(video, encoding, tags, container)
        case "matroska" | "webm":
            return MatroskaMuxer(video, encoding, tags, container)
        case _:
            return PacketMuxer(container, video, encoding, tags)


def resolve(container: str, encoding: Encoding) -> Encoding:
    """The encoding with the container's usual codec filled in; TargetError where they disagree."""
    if container not in CONTAINERS:
        raise TargetError(f"format {container!r}: one of {', '.join(CONTAINERS)}")
    allowed = CONTAINERS[container].codecs
    if not allowed:
        if encoding != Encoding():
            raise TargetError(f"{container} is not compressed: leave codec, crf and preset out")
        return encoding
    chosen = replace(encoding, codec=encoding.codec or allowed[0])
    if chosen.codec not in allowed:
        raise TargetError(f"codec {chosen.codec!r}: {container} takes {', '.join(allowed)}")
    return chosen  # which has checked crf and preset against the codec
