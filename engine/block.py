"""One finished block of a stream: what a session yields and what every output takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

    from .look import Look


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
    look: Look | None = None  # brightness, contrast, saturation of the block's pictures
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
