"""What a replica answers: one block, in types that any process can read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sana_stream.engine.block import Block, BlockStats

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class BlockReply:
    """One block of a stream, and how the replica came to it.

    Attributes:
        index, start, prompt, stats: as of `Block`.
        frames: uint8 (T, H, W, 3); in the gateway a view of Ray's shared memory.
        latents: float32 (1, C, T', h, w).
        parts: the frames of each part in which the block was decoded.
        drift: as the drift guard measured it.
        notes: lines for the log: of the guard, of prompts that are too long, of the store.
        replica: which one made it.
        place: its machine and process, `HOST:PID`.
        made: blocks that were made for this reply; more than 1 after a move.
        loaded: the block before which the stream was loaded anew; None: it was in memory.
    """

    index: int
    start: int
    frames: np.ndarray
    latents: np.ndarray
    prompt: str
    stats: BlockStats
    parts: tuple[int, ...] = ()
    drift: float = 1.0
    notes: tuple[str, ...] = ()
    replica: str = ""
    place: str = ""
    made: int = 1
    loaded: int | None = None

    def block(self) -> Block:
        """The block, with the frames as they are."""
        import torch

        latents = torch.from_numpy(self.latents.copy())
        return Block(self.index, self.start, self.frames, latents, self.prompt, self.stats)
