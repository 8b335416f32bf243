"""Blocks: the record that sessions yield and outputs take, and where blocks lie in a stream."""

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
    """The position of one block in the stream."""

    index: int
    latent_start: int  # absolute index of the first latent frame
    latent_frames: int
    start: int  # number of the first pixel frame
    frames: int  # pixel frames


@dataclass(frozen=True, slots=True)
class Shot:
    """A shot, which begins with the stream's first block or after a cut, and has no past."""

    index: int = 0  # number of its first block
    start: int = 0  # its first pixel frame


FIRST_SHOT = Shot()


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """Blocks of `block_frames` latent frames; the first block of a shot has one more.

    A causal VAE decodes the first latent frame to one frame, every later one to
    `temporal_factor`. So the first block has `1 + block_frames * temporal_factor` frames, the
    others `block_frames * temporal_factor`. Latent frames are counted from the start of the shot.

    Raises:
        ConfigError: `block_frames` is not a whole number from 1 to 10000.
    """

    block_frames: int
    temporal_factor: int = 4
    shots: tuple[Shot, ...] = (FIRST_SHOT,)  # ascending; the first one starts the plan

    def __post_init__(self) -> None:
        given = ARGUMENTS.whole("block_frames", self.block_frames, most=MOST_BLOCK_FRAMES)
        object.__setattr__(self, "block_frames", given)
        if self.block_frames < 1:
            raise ConfigError(
                f"block_frames {self.block_frames}: a block needs 1 latent frame or more"
            )

    @property
    def longest_block(self) -> int:
        """Pixel frames of the longest block: the first one of a shot."""
        return 1 + self.block_frames * self.temporal_factor

    def block(self, index: int) -> BlockSpan:
        """The block number `index`, from 0."""
        size, factor = self.block_frames, self.temporal_factor
        shot = [shot for shot in self.shots if shot.index <= index][-1]
        number = index - shot.index
        if number == 0:
            return BlockSpan(index, 0, size + 1, shot.start, self.longest_block)
        latent_start = 1 + number * size
        start = shot.start + 1 + number * size * factor
        return BlockSpan(index, latent_start, size, start, size * factor)

    def blocks_for(self, frames: int) -> int:
        """How many blocks hold the first `frames` pixel frames."""
        started = [shot for shot in self.shots if shot.start < frames]
        shot = started[-1] if started else self.shots[0]
        inside = frames - shot.start
        size = self.block_frames * self.temporal_factor
        return shot.index + max(1, -(-(inside - 1) // size))

    def cut(self, index: int) -> BlockPlan:
        """The plan with a cut before block `index`, and no later cut."""
        kept = tuple(shot for shot in self.shots if shot.index < index)
        return replace(self, shots=(*kept, Shot(index, self.block(index).start)))


@dataclass(frozen=True, slots=True)
class PlanView:
    """A plan seen from one of its blocks, which is number 0 and starts at frame 0."""

    plan: BlockPlan
    first: int

    @property
    def block_frames(self) -> int:
        """Latent frames a block."""
        return self.plan.block_frames

    @property
    def longest_block(self) -> int:
        """As `BlockPlan.longest_block`."""
        return self.plan.longest_block

    @property
    def start(self) -> int:
        """The stream's pixel frame that is number 0 here."""
        return self.plan.block(self.first).start

    def block(self, index: int) -> BlockSpan:
        """Block `index` of the view; its latent frames are counted as in the plan."""
        block = self.plan.block(self.first + index)
        return replace(block, index=index, start=block.start - self.start)

    def blocks_for(self, frames: int) -> int:
        """How many blocks hold the first `frames` pixel frames of the view."""
        return self.plan.blocks_for(self.start + frames) - self.first

    def cut(self, index: int) -> PlanView:
        """The view with a cut before block `index`, and no later cut."""
        return replace(self, plan=self.plan.cut(self.first + index))


@dataclass(frozen=True, slots=True)
class BlockStats:
    """Time and memory that one block took, and what its frames look like.

    Stage times are wall-clock seconds; on CUDA they are measured between events on the stage's
    stream, so they contain no waiting for the other stage. On an engine that is shared they contain
    the calls of other streams in between. `commit_seconds` is for committing the
    block *before* this one, which happens when this block is requested. `text_seconds` is 0 unless
    the prompt changed.
    """

    text_seconds: float
    commit_seconds: float
    denoise_seconds: float
    decode_seconds: float
    memory_bytes: int  # of the process (CPU) or allocated on the device (CUDA), at the block's end
    peak_memory_bytes: int  # highest value of the same measure since the session began
    state_bytes: int  # kept for the next block: attention and convolution states, decoder cache
    attempts: int = 1  # more than 1: the block was not finite and was sampled again
    look: FrameStats | None = None  # brightness, contrast, saturation
    drift: float = 1.0  # the factor by which the frames differ from the stream's first blocks

    @property
    def total_seconds(self) -> float:
        """Seconds of all stages, one after the other."""
        return self.text_seconds + self.commit_seconds + self.denoise_seconds + self.decode_seconds


@dataclass(frozen=True, slots=True)
class BlockPart:
    """Frames of a block that is still being decoded."""

    index: int  # number of the block in the stream, from 0
    start: int  # number of the part's first pixel frame in the stream
    offset: int  # and in the block
    frames: np.ndarray  # uint8 (T, H, W, 3), RGB; not to be written to
    prompt: str


@dataclass(frozen=True, slots=True, repr=False)
class Block:
    """A finished block: its frames and the latents that they were decoded from.

    Blocks of a CUDA device are in pinned memory, which is not swapped out: copy what you keep.
    Printing one shows a line without its tensors; a notebook shows its frames as an animation.
    """

    index: int  # number of the block in the stream, from 0
    start: int  # number of the block's first pixel frame in the stream
    frames: np.ndarray  # uint8 (T, H, W, 3), RGB
    latents: torch.Tensor  # float32 (1, C, T', h, w) on the CPU, normalised
    prompt: str
    stats: BlockStats
    fps: float | None = None  # frames per second of playback

    def __repr__(self) -> str:
        count, height, width, _ = self.frames.shape
        return (
            f"Block(index={self.index}, start={self.start}, frames={count} of {width}x{height}, "
            f"prompt={self.prompt!r}, seconds={self.stats.total_seconds:.3f})"
        )

    def _repr_html_(self) -> str:
        """The block as a notebook shows it: frames, prompt, place in the stream and speed."""
        from .notebook import figure

        return figure(self.frames, self.fps or 16, self.prompt, self._facts())

    def _facts(self) -> list[str]:
        count, height, width, _ = self.frames.shape
        took, end = self.stats.total_seconds, self.start + count
        speed = count / took if took else 0.0
        made = f"made in {took:.2f} s, {speed:.1f} frames/s"
        if self.fps is None:
            place = f"frames {self.start} to {end - 1}"
        else:
            place = f"{self.start / self.fps:.2f} to {end / self.fps:.2f} s"
            made += f" ({speed / self.fps:.2f}x real time)"
        return [f"block {self.index + 1}", place, f"{count} frames of {width}x{height}", made]
