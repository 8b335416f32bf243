"""Everything the next block depends on, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..models.state import State
from ..models.vae import VaeCache


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What a stream is made with; fixed for its life."""

    seed: int
    height: int  # pixels
    width: int
    block_frames: int  # latent frames a block
    timesteps: tuple[float, ...]
    guidance: float
    memory: str  # a policy as `parse_policy` reads it
    solver: str = "renoise"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stream between two blocks. Immutable: keeping one is enough to come back to it."""

    settings: SessionSettings
    prompt: str
    negative_prompt: str
    index: int  # number of the next block
    states: tuple[State, ...]  # one for the prompt; with guidance one for the negative prompt too
    pending: Tensor | None  # float32 (1, C, T', h, w), the last block's latents, not committed yet
    cache: VaeCache | None  # None before the first block

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors together."""
        pending = 0 if self.pending is None else self.pending.nbytes
        cache = 0 if self.cache is None else self.cache.nbytes
        return sum(state.nbytes for state in self.states) + pending + cache
