"""One block as a complete small container, of which a growing stream takes the part it needs."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import av

from sana_stream.errors import InvalidOutputError, OutputError
from sana_stream.streaming.video_format import StreamSpec

from .encoder import explain_encoder_errors
from .tracks import Tracks

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

    from sana_stream.engine.block import Block, BlockPart

Prepare = Callable[[list["Packet"], list["Packet"], str], None]
"""Changes the packets of a block, its video's and its sound's, given its prompt."""


def _unchanged(pictures: list[Packet], samples: list[Packet], prompt: str) -> None:
    pass


class SingleBlockContainer:
    """Muxes each block into a container in memory; only the content differs between them.

    The header of one is therefore the header of all, and what follows it in each container can be
    appended to what follows it in the one before. Time stamps are those of the stream.

    Args:
        container: its name in libavformat.
        options: of the container.
        spec: of the stream.
        sound: the encoder of the sound, where the stream has some.
        tags: the metadata; None: all of the stream's.
        prepare: called with the packets of each block.
    """

    def __init__(
        self,
        container: str,
        options: dict[str, str],
        spec: StreamSpec,
        sound: str,
        tags: dict[str, str] | None = None,
        prepare: Prepare = _unchanged,
    ) -> None:
        self._container = container
        self._options = options
        # readers disagree about the time of reordered frames in fragments, sound shows it
        in_order = spec.audio is not None and container in ("mp4", "mov")
        own = None if spec.audio is None else sound
        self._tracks = Tracks(spec, own, {"bf": "0"} if in_order else None)
        self._tags = spec.metadata.as_dict() if tags is None else tags
        self._prepare = prepare

    def header(self) -> bytes:
        """The bytes with which each of the containers begins."""
        buffer = io.BytesIO()
        with self._explained(InvalidOutputError), self._open(buffer):
            return buffer.getvalue()

    def add(self, block: Block | BlockPart) -> bytes:
        """The complete container of one block."""
        buffer = io.BytesIO()
        with self._explained(OutputError), self._open(buffer) as (container, stream):
            pictures = self._tracks.pictures(stream.codec_context, block)
            samples = self._tracks.samples(block)
            self._prepare(pictures, samples, block.prompt)
            for packet in pictures:
                packet.stream = stream
            for packet in samples:
                packet.stream = container.streams.audio[0]
            container.mux([*pictures, *samples])
        return buffer.getvalue()

    def _explained(
        self, kind: type[OutputError] | type[InvalidOutputError]
    ) -> AbstractContextManager[None]:
        return explain_encoder_errors(self._tracks.codec, self._tracks.video, kind)

    @contextmanager
    def _open(self, buffer: io.BytesIO) -> Iterator[tuple[OutputContainer, VideoStream]]:
        options = dict(self._options)
        with av.open(buffer, "w", format=self._container, container_options=options) as container:
            container.metadata.update(self._tags)
            yield container, self._tracks.add_to(container)
