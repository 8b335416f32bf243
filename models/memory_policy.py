"""Memory policies: which earlier blocks attention sees, in a state of constant size.

- `cumulative`: every earlier block, in one running sum (SANA-Video, arXiv 2509.24695).
- `window=W` or `window=W,sink=K`: the last W blocks, and the first K (the sink). The sink's
  positions are shifted to directly before the window, so that their distance stays constant.
- `decay=G`: one running sum, multiplied by G before each block is added.

Shapes: n layers, B batch, H heads, d head width, P tokens of a frame, D = H*d.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor

from sana_stream._arguments import ARGUMENTS, shown
from sana_stream.errors import ConfigError

from .attention import AttentionState
from .rope import shift_in_time


class Past(NamedTuple):
    """State of all earlier blocks, as an argument of one call of the transformer."""

    sums: AttentionState  # float32, S (n, B, H, d, d) and z (n, B, H, d)
    conv_state: Tensor  # (n, B, P, D), last input frame of each temporal convolution

    def layer(self, index: int) -> tuple[AttentionState, Tensor]:
        """State of one layer: attention sums, and `conv_state` (B, P, D)."""
        return AttentionState(self.sums.S[index], self.sums.z[index]), self.conv_state[index]


@dataclass(frozen=True, slots=True)
class StateUpdate:
    """State of one committed block, to be added to the memory."""

    sums: AttentionState  # float32, S (n, B, H, d, d) and z (n, B, H, d)
    conv_state: Tensor  # (n, B, P, D)
    start: int  # absolute index of the block's first latent frame
    frames: int  # latent frames of the block


MAX_SLOTS = 10_000  # blocks stored separately
ALLOWED = "cumulative, window=W, window=W,sink=K or decay=G (W, K whole numbers, 0 < G < 1)"


@dataclass(frozen=True, slots=True)
class MemorySlot:
    """Attention sums of one block, or of a running sum over blocks."""

    sums: AttentionState
    start: int = 0  # absolute index of the first latent frame
    frames: int = 0  # latent frames of the block; 0 while the slot is empty

    def moved_to(self, start: int) -> AttentionState:
        """Return the sums with keys rotated as if the block began at latent frame `start`."""
        return AttentionState(shift_in_time(self.sums.S, start - self.start), self.sums.z)


Slots = tuple[MemorySlot, ...]


class MemoryPolicy(Protocol):
    """Rule that adds a block to the slots and combines them for the next block."""

    @property
    def slots(self) -> int:
        """Number of slots, empty ones included."""
        ...

    def add(self, slots: Slots, block: StateUpdate) -> Slots:
        """Return the slots after adding a block."""
        ...

    def view(self, slots: Slots) -> AttentionState:
        """Combine the slots for the next block: S (n, B, H, d, d), z (n, B, H, d), float32."""
        ...


@dataclass(frozen=True, slots=True)
class DecayPolicy:
    """One running sum, `S <- rate * S + S_block`; rate 1 is the cumulative policy."""

    rate: float

    @property
    def slots(self) -> int:
        return 1

    def add(self, slots: Slots, block: StateUpdate) -> Slots:
        old = slots[0]
        S = old.sums.S * self.rate + block.sums.S
        z = old.sums.z * self.rate + block.sums.z
        return (MemorySlot(AttentionState(S, z), 0, old.frames + block.frames),)

    def view(self, slots: Slots) -> AttentionState:
        return slots[0].sums

    def __str__(self) -> str:
        return "cumulative" if self.rate == 1 else f"decay={self.rate:g}"


@dataclass(frozen=True, slots=True)
class WindowPolicy:
    """The last `size` blocks, and the first `sink` blocks shifted to directly before them."""

    size: int
    sink: int = 0

    @property
    def slots(self) -> int:
        return self.sink + self.size

    def add(self, slots: Slots, block: StateUpdate) -> Slots:
        new = MemorySlot(block.sums, block.start, block.frames)
        for i in range(self.sink):
            if not slots[i].frames:
                return (*slots[:i], new, *slots[i + 1 :])
        return (*slots[: self.sink], *slots[self.sink + 1 :], new)

    def view(self, slots: Slots) -> AttentionState:
        sinks, recent = slots[: self.sink], slots[self.sink :]
        held = [slot for slot in recent if slot.frames]
        sink_frames = sum(slot.frames for slot in sinks)
        if held:
            start = held[0].start - sink_frames
        else:
            start = sinks[0].start if sinks else 0
        parts = [slot.sums for slot in recent]
        for slot in sinks:
            parts.append(slot.moved_to(start))
            start += slot.frames
        S = torch.stack([part.S for part in parts]).sum(0)
        return AttentionState(S, torch.stack([part.z for part in parts]).sum(0))

    def __str__(self) -> str:
        return f"window={self.size}" + (f",sink={self.sink}" if self.sink else "")


@dataclass(frozen=True, slots=True)
class BlockMemory:
    """A policy and its slots: immutable, of constant size from the first block."""

    policy: MemoryPolicy
    slots: Slots

    @classmethod
    def empty(cls, policy: MemoryPolicy, zeros: AttentionState) -> Self:
        """Memory before the first block; `zeros` are zero sums of the model's shapes."""
        return cls(policy, (MemorySlot(zeros),) * policy.slots)

    def add(self, block: StateUpdate) -> BlockMemory:
        """Return the memory after one more block."""
        return BlockMemory(self.policy, self.policy.add(self.slots, block))

    def view(self) -> AttentionState:
        """Combine the slots for the next block: S (n, B, H, d, d), z (n, B, H, d), float32."""
        return self.policy.view(self.slots)

    @property
    def nbytes(self) -> int:
        """Bytes of all slots, empty ones included."""
        return sum(part.nbytes for slot in self.slots for part in slot.sums)


def parse_memory_policy(text: str) -> MemoryPolicy:
    """Parse a memory policy as the command line and presets write it.

    Raises:
        ConfigError: an unknown form, or a number out of its range.
    """
    ARGUMENTS.word("memory", text)
    if text == "cumulative":
        return DecayPolicy(1.0)
    if match := re.fullmatch(r"window=(\d{1,9})(?:,sink=(\d{1,9}))?", text):
        size, sink = int(match[1]), int(match[2] or 0)
        if size + sink > MAX_SLOTS:
            raise ConfigError(f"memory {text}: window and sink hold at most {MAX_SLOTS} blocks")
        if size >= 1:
            return WindowPolicy(size, sink)
    if match := re.fullmatch(r"decay=(\d{0,9}\.?\d{1,20})", text):
        rate = float(match[1])
        if 0 < rate < 1:
            return DecayPolicy(rate)
    raise ConfigError(f"memory {shown(text)} is not known; use {ALLOWED}")
