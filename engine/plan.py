"""The block plan: which latent and pixel frames each block holds, in whole numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..models.errors import ConfigError


@dataclass(frozen=True, slots=True)
class PlannedBlock:
    """Where one block lies in the stream."""

    index: int
    latent_start: int  # absolute index of the first latent frame
    latent_frames: int
    start: int  # number of the first pixel frame
    frames: int  # pixel frames


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """Blocks of `block_frames` latent frames; the first takes one more.

    A causal VAE's first latent frame is one picture, every later one `temporal_factor`: so the
    first block has `1 + block_frames * temporal_factor` pictures, the others
    `block_frames * temporal_factor`.
    """

    block_frames: int
    temporal_factor: int = 4

    def __post_init__(self) -> None:
        if self.block_frames < 1:
            raise ConfigError(
                f"block_frames {self.block_frames}: a block needs 1 latent frame or more"
            )

    def block(self, index: int) -> PlannedBlock:
        """The block number `index`, from 0."""
        size, factor = self.block_frames, self.temporal_factor
        if index == 0:
            return PlannedBlock(0, 0, size + 1, 0, 1 + size * factor)
        latent_start = 1 + index * size
        start = 1 + index * size * factor
        return PlannedBlock(index, latent_start, size, start, size * factor)

    def blocks_for(self, frames: int) -> int:
        """How many blocks hold the first `frames` pixel frames."""
        if frames <= self.block(0).frames:
            return 1
        size = self.block_frames * self.temporal_factor
        return -(-(frames - 1) // size)


@dataclass(frozen=True, slots=True)
class PlanFrom:
    """A plan as it looks from one of its blocks: that block is number 0 and starts at frame 0."""

    plan: BlockPlan
    first: int

    @property
    def block_frames(self) -> int:
        """Latent frames a block."""
        return self.plan.block_frames

    @property
    def start(self) -> int:
        """The stream's pixel frame that is number 0 here."""
        return self.plan.block(self.first).start

    def block(self, index: int) -> PlannedBlock:
        """The block number `index` from here; its latent frames are counted as in the stream."""
        block = self.plan.block(self.first + index)
        return replace(block, index=index, start=block.start - self.start)

    def blocks_for(self, frames: int) -> int:
        """How many blocks hold the first `frames` pixel frames from here."""
        return self.plan.blocks_for(self.start + frames) - self.first
