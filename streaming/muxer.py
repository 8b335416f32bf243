"""What turns blocks into the bytes of a container; where the bytes go is no matter here."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from ..engine.block import Block


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
