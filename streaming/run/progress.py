"""How a run is getting on, in numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sana_stream.engine.block import Block

_RECENT = 0.2  # weight of the newest block in the running mean


@dataclass(frozen=True, slots=True)
class Progress:
    """What is done and how fast; one is made from the one before with each block."""

    fps: float  # of the video
    total: int | None  # frames, `None` without an end
    blocks_total: int | None
    blocks: int = 0
    frames: int = 0
    spent: float = 0.0  # seconds
    recent: float = 0.0  # frames a second, running mean over the last blocks
    memory: int = 0  # bytes
    peak: int = 0
    drift: float = 1.0  # by which factor the look differs from the prompt's first blocks
    prompt: str = ""
    kept: int = 0  # frames of an earlier run

    def after(self, block: Block, spent: float, drift: float | None = None) -> Progress:
        """The progress after one more block, `spent` seconds into the run.

        `drift` is what a guard finds; without one it is measured from the stream's beginning.
        """
        frames, stats = len(block.frames), block.stats
        speed = frames / max(spent - self.spent, 1e-9)
        recent = speed if self.blocks < 2 else self.recent + _RECENT * (speed - self.recent)
        return replace(
            self,
            blocks=self.blocks + 1,
            frames=self.frames + frames,
            spent=spent,
            recent=recent,
            memory=stats.memory_bytes,
            peak=max(stats.peak_memory_bytes, self.peak),
            drift=stats.drift if drift is None else drift,
            prompt=block.prompt,
        )

    @property
    def made_seconds(self) -> float:
        """How long the video made so far plays."""
        return self.frames / self.fps

    @property
    def speed(self) -> float:
        """Frames a second since the beginning."""
        return (self.frames - self.kept) / self.spent if self.spent else 0.0

    @property
    def left_seconds(self) -> float | None:
        """How long the rest will take, `None` without an end or before the first block."""
        if self.total is None or not self.recent:
            return None
        return (self.total - self.frames) / self.recent
