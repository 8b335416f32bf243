"""What an output is to those who feed it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..engine.block import Block


class Sink(Protocol):
    """Takes the blocks of one stream in order; made by `open_sink`, fed by one thread."""

    @property
    def label(self) -> str:
        """What a message calls the output: a path, an address, "standard output"."""
        ...

    @property
    def durable(self) -> bool:
        """Whether the output keeps the video; such a one may not fail while others go on."""
        ...

    @property
    def frames(self) -> int:
        """How many frames are safely delivered."""
        ...

    def write(self, block: Block) -> None:
        """Deliver one block whole; waits as long as the output is slow.

        Raises ReaderGone when nobody takes the output any more, Stopped when the run was to stop
        while waiting, and SinkError for any other failure.
        """
        ...

    def close(self) -> None:
        """Complete the output; raises SinkError. A second call does nothing."""
        ...
