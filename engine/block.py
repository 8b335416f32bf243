"""One finished block of a stream: what a session yields and what every output takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sana_stream._arguments import ARGUMENTS
from sana_stream.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from .frame_stats import FrameStats


MOST_BLOCK_FRAMES = 10_000  # latent frames


@dataclass(frozen=True, slots=True)
class BlockSpan:
    """Where one block lies in the stream."""

    index: int
    latent_start: int  # absolute index of the first latent frame
    latent_frames: int
    start: int  # number of the first pixel frame
    frames: int  # pixel frames


@dataclass(frozen=True, slots=True)
class Shot:
    """Where the past begins anew: with the stream's first block, and with that after a cut."""

    index: int = 0  # number of the block
    start: int = 0  # its first pixel frame


FIRST_SHOT = Shot()


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """Blocks of `block_frames` latent frames; the first of a take has one more.

    A causal VAE's first latent frame is one picture, every later one `temporal_factor`: so the
    first block has `1 + block_frames * temporal_factor` pictures, the others
    `block_frames * temporal_factor`. Latent frames are counted from the beginning of the take.
    """

    block_frames: int
    temporal_factor: int = 4
    shots: tuple[Shot, ...] = (FIRST_SHOT,)  # ascending; no block before them is known

    def __post_init__(self) -> None:
        given = ARGUMENTS.whole("block_frames", self.block_frames, most=MOST_BLOCK_FRAMES)
        object.__setattr__(self, "block_frames", given)
        if self.block_frames < 1:
            raise ConfigError(
                f"block_frames {self.block_frames}: a block needs 1 latent frame or more"
            )

    def block(self, index: int) -> BlockSpan:
        """The block number `index`, from 0."""
        size, factor = self.block_frames, self.temporal_factor
        take = [take for take in self.shots if take.index <= index][-1]
        number = index - take.index
        if number == 0:
            return BlockSpan(index, 0, size + 1, take.start, 1 + size * factor)
        latent_start = 1 + number * size
        start = take.start + 1 + number * size * factor
        return BlockSpan(index, latent_start, size, start, size * factor)

    def blocks_for(self, frames: int) -> int:
        """How many blocks hold the first `frames` pixel frames."""
        begun = [take for take in self.shots if take.start < frames]
        take = begun[-1] if begun else self.shots[0]
        inside = frames - take.start
        size = self.block_frames * self.temporal_factor
        return take.index + max(1, -(-(inside - 1) // size))

    def cut(self, index: int) -> BlockPlan:
        """The plan in which a take begins with block `index`, and no later one."""
        kept = tuple(take for take in self.shots if take.index < index)
        return replace(self, shots=(*kept, Shot(index, self.block(index).start)))


@dataclass(frozen=True, slots=True)
class PlanView:
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

    def block(self, index: int) -> BlockSpan:
        """The block number `index` from here; its latent frames are counted as in the stream."""
        block = self.plan.block(self.first + index)
        return replace(block, index=index, start=block.start - self.start)

    def blocks_for(self, frames: int) -> int:
        """How many blocks hold the first `frames` pixel frames from here."""
        return self.plan.blocks_for(self.start + frames) - self.first

    def cut(self, index: int) -> PlanView:
        """The plan in which a take begins with block `index` from here, and no later one."""
        return replace(self, plan=self.plan.cut(self.first + index))


@dataclass(frozen=True, slots=True)
class BlockStats:
    """What one block took.

    Stage times are wall-clock seconds. `commit_seconds` is the commit of the block *before* this
    one, which runs when this block is asked for; `text_seconds` is zero unless the prompt changed.
    """

    text_seconds: float
    commit_seconds: float
    denoise_seconds: float
    decode_seconds: float
    memory_bytes: int  # of the process (CPU) or allocated on the device (CUDA), at the block's end
    peak_memory_bytes: int  # highest value of the same measure since the session began
    state_bytes: int  # everything kept for the next block: memory, convolution tails, VAE cache
    attempts: int = 1  # more: the block was not finite and was made again with other noise
    look: FrameStats | None = None  # brightness, contrast, saturation of the block's pictures
    drift: float = 1.0  # the factor by which the look differs from the stream's beginning

    @property
    def total_seconds(self) -> float:
        """Time from asking for the block to its last decoded frame."""
        return self.text_seconds + self.commit_seconds + self.denoise_seconds + self.decode_seconds


@dataclass(frozen=True, slots=True)
class Block:
    """A finished block: its pictures and the latents they were decoded from."""

    index: int  # number of the block in the stream, from 0
    start: int  # number of the block's first pixel frame in the stream
    frames: np.ndarray  # uint8 (T, H, W, 3), RGB
    latents: torch.Tensor  # float32 (1, C, T', h, w) on the CPU, normalised
    prompt: str
    stats: BlockStats
