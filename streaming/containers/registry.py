"""Which containers there are, what they can hold, and who writes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, Protocol

from sana_stream.errors import InvalidOutputError
from sana_stream.streaming.video_format import EncoderSettings, Metadata, VideoFormat

from .matroska import MatroskaMuxer
from .mp4 import Mp4Muxer
from .mpegts import StreamMuxer
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
class ContainerInfo:
    """The codecs it can hold, the usual one first (none: bare pictures), and its file suffix."""

    codecs: tuple[str, ...]
    suffix: str | None


CONTAINERS = {
    "mp4": ContainerInfo(("h264", "h265", "av1", "vp9"), ".mp4"),
    "mov": ContainerInfo(("h264", "h265"), ".mov"),
    "matroska": ContainerInfo(("h264", "h265", "av1", "vp9", "ffv1"), ".mkv"),
    "webm": ContainerInfo(("vp9", "av1"), ".webm"),
    "mpegts": ContainerInfo(("h264", "h265"), ".ts"),
    "nut": ContainerInfo(("h264", "h265", "ffv1"), None),
    "flv": ContainerInfo(("h264",), None),
    "y4m": ContainerInfo((), ".y4m"),
    "rawvideo": ContainerInfo((), None),
}
BY_SUFFIX = {kind.suffix: name for name, kind in CONTAINERS.items() if kind.suffix}


def create_muxer(
    container: str, video: VideoFormat, encoding: EncoderSettings, tags: Metadata
) -> Muxer:
    """The writer of one stream in the container of this name.

    Raises InvalidOutputError for an unknown container or a codec that it cannot hold.
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
            return StreamMuxer(container, video, encoding, tags)


def resolve(container: str, encoding: EncoderSettings) -> EncoderSettings:
    """The encoding with the container's usual codec filled in; InvalidOutputError where they
    disagree."""
    if container not in CONTAINERS:
        raise InvalidOutputError(f"format {container!r}: one of {', '.join(CONTAINERS)}")
    allowed = CONTAINERS[container].codecs
    if not allowed:
        if encoding != EncoderSettings():
            raise InvalidOutputError(
                f"{container} is not compressed: leave codec, crf and preset out"
            )
        return encoding
    chosen = replace(encoding, codec=encoding.codec or allowed[0])
    if chosen.codec not in allowed:
        raise InvalidOutputError(f"codec {chosen.codec!r}: {container} takes {', '.join(allowed)}")
    return chosen  # which has checked crf and preset against the codec
