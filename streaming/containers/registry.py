"""The supported containers, the codecs that each can hold, and the muxer of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, Protocol

from sana_stream.errors import InvalidOutputError
from sana_stream.streaming.video_format import EncoderSettings, StreamSpec

from .matroska import MatroskaMuxer
from .mp4 import Mp4Muxer
from .raw import RawMuxer, Y4mMuxer
from .streamed import StreamMuxer

if TYPE_CHECKING:
    from sana_stream.engine.block import Block, BlockPart

    from .chapters import Chapter


class Muxer(Protocol):
    """One stream in one container, as bytes: the header, then each complete block, then the end.

    After every call the bytes returned so far are a playable stream, complete to the last frame.
    """

    def header(self) -> bytes:
        """The bytes before the first block."""
        ...

    def add(self, block: Block | BlockPart) -> bytes | memoryview:
        """The bytes of one block; no frame of it is held back."""
        ...

    def trailer(self) -> bytes:
        """The bytes after the last block, for outputs that cannot be rewritten."""
        ...

    def finish(self, file: BinaryIO, chapters: Sequence[Chapter] = ()) -> None:
        """Complete a file that holds the header and all blocks: an index, the duration, chapters.

        `file` is open for reading and writing, at any position.
        """
        ...


@dataclass(frozen=True, slots=True)
class ContainerInfo:
    """The codecs that it can hold, the default first (none: raw frames), its file suffix, and the
    encoder of its sound."""

    codecs: tuple[str, ...]
    suffix: str | None
    audio: str | None = None


CONTAINERS = {
    "mp4": ContainerInfo(("h264", "h265", "av1", "vp9"), ".mp4", "aac"),
    "mov": ContainerInfo(("h264", "h265", "prores", "dnxhr"), ".mov", "aac"),
    "matroska": ContainerInfo(("h264", "h265", "av1", "vp9", "ffv1"), ".mkv", "aac"),
    "webm": ContainerInfo(("vp9", "av1"), ".webm", "libopus"),
    "mpegts": ContainerInfo(("h264", "h265"), ".ts", "aac"),
    "nut": ContainerInfo(("h264", "h265", "ffv1"), None, "aac"),
    "flv": ContainerInfo(("h264",), None, "aac"),
    "y4m": ContainerInfo((), ".y4m"),
    "rawvideo": ContainerInfo((), None),
}
BY_SUFFIX = {kind.suffix: name for name, kind in CONTAINERS.items() if kind.suffix}


def create_muxer(container: str, spec: StreamSpec) -> Muxer:
    """The muxer of one stream for the container of this name.

    Raises:
        InvalidOutputError: an unknown container, or a codec, size or rate that it cannot hold.
    """
    spec = replace(spec, encoder=resolve_encoder(container, spec.encoder))
    if spec.audio is not None and CONTAINERS[container].audio is None:
        homes = ", ".join(name for name, kind in CONTAINERS.items() if kind.audio)
        raise InvalidOutputError(f"container {container!r} takes no sound here: use {homes}")
    match container:
        case "rawvideo":
            return RawMuxer()
        case "y4m":
            return Y4mMuxer(spec.video, spec.metadata.run)
        case "mp4" | "mov":
            return Mp4Muxer(spec, container)
        case "matroska" | "webm":
            return MatroskaMuxer(spec, container)
        case _:
            return StreamMuxer(container, spec)


def resolve_encoder(container: str, encoder: EncoderSettings) -> EncoderSettings:
    """The settings with the container's default codec filled in.

    Raises:
        InvalidOutputError: an unknown container, or settings that it does not take.
    """
    if container not in CONTAINERS:
        raise InvalidOutputError(f"container {container!r}: use one of {', '.join(CONTAINERS)}")
    allowed = CONTAINERS[container].codecs
    if not allowed:
        if encoder != EncoderSettings():
            raise InvalidOutputError(
                f"{container} is not compressed: leave codec, crf, preset and bit_depth out"
            )
        return encoder
    chosen = replace(encoder, codec=encoder.codec or allowed[0])
    if chosen.codec not in allowed:
        raise InvalidOutputError(f"codec {chosen.codec!r}: {container} takes {', '.join(allowed)}")
    return chosen  # which has checked crf and preset against the codec
