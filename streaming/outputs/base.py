"""What an output is to those who feed it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from sana_stream.engine.block import Block


def redact_url(output: str) -> str:
    """An output by its name, an address without what may be secret: user, stream key, query."""
    if output == "-":
        return "standard output"
    if "://" not in output:
        return output
    parts = urlsplit(output)
    if parts.scheme == "unix":
        return f"unix://{parts.netloc}{parts.path}"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


class Output(Protocol):
    """Takes the blocks of one stream in order; made by `open_output`, fed by one thread."""

    @property
    def name(self) -> str:
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

        Raises ReaderDisconnected when nobody takes the output any more, Stopped when the run was to
        stop while waiting, and OutputError for any other failure.
        """
        ...

    def close(self) -> None:
        """Complete the output; raises OutputError. A second call does nothing."""
        ...
