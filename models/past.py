"""What a block sees of the earlier ones, and what it adds: frozen data.

Letters: n layers, B batch, H heads, d head width, P tokens of a frame, D = H*d.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from .attention import Sums


class Past(NamedTuple):
    """What one block sees of all earlier ones."""

    sums: Sums  # float32, S (n, B, H, d, d) and z (n, B, H, d)
    tail: Tensor  # (n, B, P, D), the temporal convolutions' left neighbours

    def layer(self, index: int) -> tuple[Sums, Tensor]:
        """The past of one layer: its sums, and its tail (B, P, D)."""
        return Sums(self.sums.S[index], self.sums.z[index]), self.tail[index]


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one committed block adds."""

    sums: Sums  # float32, S (n, B, H, d, d) and z (n, B, H, d)
    tail: Tensor  # (n, B, P, D)
    start: int  # absolute index of the block's first latent frame
    frames: int  # latent frames of the block
