"""Admission of streams by what they need of the device: time, memory and number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

MOST_UTILIZATION = 0.85  # of the device's time, by streams that are watched
MOST_MEMORY = 0.9  # of the device's memory


class Demand(NamedTuple):
    """What one stream needs of the device."""

    utilization: float = 0.0  # seconds of the device a second of video; 0 for a file
    memory_bytes: int = 0  # kept between two blocks
    working_bytes: int = 0  # while a block is sampled or decoded


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a stream fits next to those that run."""

    fits: bool
    possible: bool  # whether it fits once it is alone
    reason: str  # why it does not fit, with the numbers; empty where it does
    demand: Demand


@dataclass(frozen=True, slots=True)
class Limits:
    """What the streams of a device may take together."""

    max_streams: int
    memory_bytes: int | None = None  # for streams, without weights; None: not limited
    utilization: float = MOST_UTILIZATION
    always_one: bool = False  # a stream alone fits, whatever it needs

    def admit(self, demand: Demand, running: Iterable[Demand]) -> Admission:
        """Decide whether a stream fits next to the running ones."""
        running = list(running)
        alone = "" if self.always_one else self._reason(demand, [])
        reason = alone or self._reason(demand, running)
        if self.always_one and not running:
            reason = ""
        return Admission(not reason, not alone, reason, demand)

    def fitting(self, utilization: float) -> int:
        """How many streams of this utilization fit, by time alone."""
        return int(self.utilization / utilization + 1e-9) if utilization else self.max_streams

    def _reason(self, demand: Demand, running: list[Demand]) -> str:
        every = [*running, demand]
        if len(every) > self.max_streams:
            return f"{len(running)} streams run and at most {self.max_streams} may"
        utilization = sum(each.utilization for each in every)
        if demand.utilization and utilization > self.utilization + 1e-9:
            return (
                f"{len(every)} streams need {utilization:.0%} of the device's time, and at most"
                f" {self.utilization:.0%} is given; use a smaller size, fewer steps or a lower"
                " frame rate"
            )
        needed = sum(each.memory_bytes for each in every)
        needed += max(each.working_bytes for each in every)
        if self.memory_bytes is not None and needed > self.memory_bytes:
            return (
                f"{len(every)} streams need {needed / (1 << 30):,.2f} GiB, and"
                f" {max(0, self.memory_bytes) / (1 << 30):,.2f} GiB are there besides the weights;"
                " use a smaller size, fewer block_frames or a shorter memory"
            )
        return ""
