"""The progress of a run, in numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sana_stream.engine.block import Block

_RECENT = 0.2  # weight of the newest block in the running mean


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of a video is done and how fast; a run yields one record a block."""

    fps: float  # of the video
    total_frames: int | None  # None: endless
    total_blocks: int | None
    blocks: int = 0
    frames: int = 0
    elapsed_seconds: float = 0.0  # of wall time
    recent_speed: float = 0.0  # frames per second, running mean over the last blocks
    memory_bytes: int = 0
    peak_memory_bytes: int = 0
    drift: float = 1.0  # factor by which the frames differ from the prompt's first blocks
    prompt: str = ""  # of the newest block
    resumed_frames: int = 0  # frames of an earlier run, which count in `frames`

    def after(self, block: Block, elapsed: float, drift: float | None = None) -> Progress:
        """The progress after one more block.

        Args:
            block: as it was delivered.
            elapsed: seconds since the run began.
            drift: as a drift guard measures it. Default: from the stream's beginning.
        """
        frames, stats = len(block.frames), block.stats
        speed = frames / max(elapsed - self.elapsed_seconds, 1e-9)
        change = speed - self.recent_speed
        return replace(
            self,
            blocks=self.blocks + 1,
            frames=self.frames + frames,
            elapsed_seconds=elapsed,
            recent_speed=speed if self.blocks < 2 else self.recent_speed + _RECENT * change,
            memory_bytes=stats.memory_bytes,
            peak_memory_bytes=max(stats.peak_memory_bytes, self.peak_memory_bytes),
            drift=stats.drift if drift is None else drift,
            prompt=block.prompt,
        )

    @property
    def seconds(self) -> float:
        """How long the video made so far plays."""
        return self.frames / self.fps

    @property
    def total_seconds(self) -> float | None:
        """How long the whole video plays; None: endless."""
        return None if self.total_frames is None else self.total_frames / self.fps

    @property
    def complete(self) -> bool:
        """Whether the video has all its frames."""
        return self.frames == self.total_frames

    @property
    def speed(self) -> float:
        """Frames per second of wall time, over the whole run."""
        made = self.frames - self.resumed_frames
        return made / self.elapsed_seconds if self.elapsed_seconds else 0.0

    @property
    def remaining_seconds(self) -> float | None:
        """Wall time until the video is complete; None for an endless one and before any block."""
        if self.total_frames is None or not self.recent_speed:
            return None
        return (self.total_frames - self.frames) / self.recent_speed
