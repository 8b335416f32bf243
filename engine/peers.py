"""The seam between a stream's sampling and other processes that compute parts of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from .noise import NoiseSource  # imports torch

T = TypeVar("T")
MAX_DEVICES = 64  # of one stream


class Peers(Protocol):
    """The processes that sample a block together; `SingleProcess` is the default."""

    @property
    def devices(self) -> int:
        """The number of processes, each with a device."""
        ...

    def describe(self, settings: Any) -> str:
        """How the sampling with these settings is divided; empty where one device samples."""
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

    def should_stop(self, interrupted: bool) -> bool:
        """Whether sampling stops before the next network call; every process gets the same answer.

        Args:
            interrupted: whether this process was asked to stop.
        """
        ...

    def run_calls(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """The results of independent network calls: of the prompt and the negative prompt."""
        ...


class SingleProcess:
    """One process that samples without others."""

    devices = 1

    def describe(self, settings: Any) -> str:
        return ""

    def sample(self, snapshot: Any, noise: NoiseSource, work: Callable[[NoiseSource], T]) -> T:
        return work(noise)

    def should_stop(self, interrupted: bool) -> bool:
        return interrupted

    def run_calls(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        return [call() for call in calls]
