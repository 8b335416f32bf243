"""What a guard remembers of a stream: saved with it, so that going on it judges as before."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..models.vae import VaeCache
from .look import Look


@dataclass(frozen=True, slots=True)
class Ending:
    """The last pictures of a stream at some moment, from which it can begin again."""

    recent: tuple[Tensor, ...]  # float32 (1, C, T', h, w), latents of the last blocks
    cache: VaeCache | None  # where there is none, it is made again from `recent`


@dataclass(frozen=True, slots=True)
class Watch:
    """How the blocks under the present prompt began, and what a guard has done about the rest."""

    prompt: str
    look: Look  # a mean over the first good blocks under this prompt
    blocks: int = 0  # good blocks under this prompt
    quiet: int = 0  # blocks to let pass before the next action
    good: Ending | None = None  # after the last good block; for a guard that begins again
    negative: str = ""  # the negative prompt, the seed and the number of the last block
    seed: int = 0
    index: int = -1
    last: Look | None = None  # of the last block
    settling: int = 0  # blocks in which a planned change may still be coming into the picture
    longer: int = 0  # by how many more that may be, while the picture still moves
