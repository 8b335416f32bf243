"""The state of a stream between two blocks: frozen, of constant size, a snapshot by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from .attention import AttentionState
from .config import TransformerConfig
from .memory_policy import BlockMemory, MemoryPolicy, Past, StateUpdate


@dataclass(frozen=True, slots=True)
class StreamState:
    """Everything the transformer keeps of the past."""

    memory: BlockMemory
    conv_state: Tensor  # (n layers, B, P tokens of a frame, D), dtype of the weights
    position: int  # absolute index of the next block's first latent frame

    @classmethod
    def empty(
        cls,
        config: TransformerConfig,
        policy: MemoryPolicy,
        grid: tuple[int, int],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        batch: int = 1,
    ) -> Self:
        """The state before the first block; `grid` is token rows and columns of a frame."""
        layers, heads = config.num_layers, config.num_attention_heads
        head_dim, tokens = config.attention_head_dim, grid[0] * grid[1]
        nothing = AttentionState(
            torch.zeros(layers, batch, heads, head_dim, head_dim, device=device),
            torch.zeros(layers, batch, heads, head_dim, device=device),
        )
        shape = (layers, batch, tokens, config.hidden_size)
        tail = torch.zeros(shape, dtype=dtype, device=device)
        return cls(BlockMemory.empty(policy, nothing), tail, 0)

    def past(self) -> Past:
        """What the next block sees."""
        return Past(self.memory.view(), self.conv_state)

    def add(self, block: StateUpdate) -> StreamState:
        """The state after a committed block; this one stays as it is."""
        return StreamState(self.memory.add(block), block.conv_state, block.start + block.frames)

    @property
    def nbytes(self) -> int:
        """Size in bytes, the same at every block."""
        return self.memory.nbytes + self.conv_state.nbytes


def stream_state_bytes(
    config: TransformerConfig,
    policy: MemoryPolicy,
    grid: tuple[int, int],
    conv_state_bytes: int = 2,
) -> int:
    """Size of a state for one stream, from the shapes alone.

    The sums take `slots * layers * heads * (d*d + d) * 4` bytes, the tails
    `layers * tokens * D * tail_bytes`.
    """
    head_dim, layers = config.attention_head_dim, config.num_layers
    sums = layers * config.num_attention_heads * (head_dim * head_dim + head_dim) * 4
    tail = layers * grid[0] * grid[1] * config.hidden_size * conv_state_bytes
    return policy.slots * sums + tail
