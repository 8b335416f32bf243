"""The seam between a stream's sampling and other processes that compute parts of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from .noise import NoiseSource

T = TypeVar("T")


class Peers(Protocol):
    """The processes that sample a block together; `Alone` is one process."""

    @property
    def devices(self) -> int:
        """The number of processes, each with a device."""
        ...

    def describe(self, settings: Any) -> str:
        """How the work of a stream with these settings is divided; empty for one process."""
        ...

    def sample(self, snapshot: Any, noise: NoiseSource, work: Callable[[NoiseSource], T]) -> T:
        """Run the sampling of the block after a snapshot, in every process.

        Args:
            snapshot: a `Snapshot`.
            noise: of this process.
            work: samples with the given noise and returns a `LatentBlock`.

        Raises:
            ParallelError: another process has ended.
        """
        ...

    def agree(self, interrupted: bool) -> bool:
        """Whether sampling stops before the next network call, the same in every process."""
        ...

    def run(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """The results of independent network calls: of the prompt and the negative prompt."""
        ...


class Alone:
    """One process that samples by itself."""

    devices = 1

    def describe(self, settings: Any) -> str:
        return ""

    def sample(self, snapshot: Any, noise: NoiseSource, work: Callable[[NoiseSource], T]) -> T:
        return work(noise)

    def agree(self, interrupted: bool) -> bool:
        return interrupted

    def run(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        return [call() for call in calls]
