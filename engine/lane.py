"""The seam between single network calls, such as encoding an image, and the blocks of streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class DeviceLane(Protocol):
    """Runs network calls that belong to no block; `DirectLane` is the default."""

    def run(self, kind: str, size: int, work: Callable[[], T]) -> T:
        """Run work on the device while no other network call runs there.

        Args:
            kind: what it does, such as "encode"; its time grows with the size.
            size: pixels, tokens or latents, at least 1.
            work: is called once, perhaps on another thread.

        Returns:
            Its result; what it raises is raised here.
        """
        ...


class DirectLane:
    """Runs the work at once on the calling thread, for an engine of one stream."""

    def run(self, kind: str, size: int, work: Callable[[], T]) -> T:
        return work()
