"""State of a stream between two blocks: immutable and of constant size, usable as a snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from .attention import AttentionState
from .memory_policy import BlockMemory, MemoryPolicy, Past, StateUpdate


class StateShapes(Protocol):
    """The shapes of a state, as every transformer's configuration has them."""

    @property
    def state_layers(self) -> int: ...
    @property
    def num_attention_heads(self) -> int: ...
    @property
    def attention_head_dim(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...


@dataclass(frozen=True, slots=True)
class StreamState:
    """Everything that the transformer keeps of earlier blocks."""

    memory: BlockMemory
    conv_state: Tensor  # (n layers, B, P tokens of a frame, D), dtype of the weights
    position: int  # absolute index of the next block's first latent frame

    @classmethod
    def empty(
        cls,
        config: StateShapes,
        policy: MemoryPolicy,
        grid: tuple[int, int],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        batch: int = 1,
    ) -> Self:
        """Create the state before the first block; `grid` is token rows and columns of a frame."""
        layers, heads = config.state_layers, config.num_attention_heads
        head_dim, tokens = config.attention_head_dim, grid[0] * grid[1]
        zeros = AttentionState(
            torch.zeros(layers, batch, heads, head_dim, head_dim, device=device),
            torch.zeros(layers, batch, heads, head_dim, device=device),
        )
        shape = (layers, batch, tokens, config.hidden_size)
        conv_state = torch.zeros(shape, dtype=dtype, device=device)
        return cls(BlockMemory.empty(policy, zeros), conv_state, 0)

    def past(self) -> Past:
        """State of the earlier blocks, as the transformer takes it."""
        return Past(self.memory.view(), self.conv_state)

    def add(self, block: StateUpdate) -> StreamState:
        """Return the state after a committed block; this one is unchanged."""
        return StreamState(self.memory.add(block), block.conv_state, block.start + block.frames)

    @property
    def nbytes(self) -> int:
        """Size in bytes, the same at every block."""
        return self.memory.nbytes + self.conv_state.nbytes


def stream_state_bytes(
    config: StateShapes,
    policy: MemoryPolicy,
    grid: tuple[int, int],
    conv_state_bytes: int = 2,
) -> int:
    """Compute the bytes of one stream's state from the model's shapes.

    The attention sums take `slots * layers * heads * (d*d + d) * 4` bytes. The convolution states
    take `layers * tokens * D * conv_state_bytes`, where `conv_state_bytes` is the size of one
    element.
    """
    head_dim, layers = config.attention_head_dim, config.state_layers
    sums = layers * config.num_attention_heads * (head_dim * head_dim + head_dim) * 4
    conv_state = layers * grid[0] * grid[1] * config.hidden_size * conv_state_bytes
    return policy.slots * sums + conv_state
