"""The interface of an output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from sana_stream.engine.block import Block


def redact_url(output: str) -> str:
    """The name of an output for messages: an address without its user, stream key and query."""
    if output == "-":
        return "standard output"
    if "://" not in output:
        return output
    parts = urlsplit(output)
    if parts.scheme == "unix":
        return f"unix://{parts.netloc}{parts.path}"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


class Output(Protocol):
    """Takes the blocks of one stream in order, from one thread; `open_output` returns one.

    An output with an attribute `takes_parts` that is true also takes parts of a block
    (`BlockPart`), and then the rest of it.
    """

    @property
    def name(self) -> str:
        """The name for messages: a path, an address, "standard output"."""
        ...

    @property
    def durable(self) -> bool:
        """Whether the output keeps the video; if such an output fails, the run fails."""
        ...

    @property
    def frames(self) -> int:
        """How many frames are safely delivered."""
        ...

    def write(self, block: Block) -> None:
        """Deliver one complete block; waits as long as the output is slow.

        Raises:
            ReaderDisconnected: the output has no reader any more.
            OutputCancelled: the run was stopped while the output waited.
            OutputError: any other failure.
        """
        ...

    def close(self) -> None:
        """Complete the output; raises OutputError. A second call does nothing."""
        ...
