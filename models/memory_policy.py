"""Policies of memory: which of the earlier blocks a stream still sees, in a constant size.

- `cumulative`: every block, for ever, in one sum (the paper).
- `window=W` or `window=W,sink=K`: the last W blocks, and the first K (the sink). The sink moves
  along in time and always stands right before the window, so its distance never grows.
- `decay=G`: one sum in which each block counts G times less with every block after it.

What a block sees of the earlier ones, and what it adds: frozen data.

Letters: n layers, B batch, H heads, d head width, P tokens of a frame, D = H*d.
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
    """What one block sees of all earlier ones."""

    sums: AttentionState  # float32, S (n, B, H, d, d) and z (n, B, H, d)
    conv_state: Tensor  # (n, B, P, D), the temporal convolutions' left neighbours

    def layer(self, index: int) -> tuple[AttentionState, Tensor]:
        """The past of one layer: its sums, and its tail (B, P, D)."""
        return AttentionState(self.sums.S[index], self.sums.z[index]), self.conv_state[index]


@dataclass(frozen=True, slots=True)
class StateUpdate:
    """What one committed block adds."""

    sums: AttentionState  # float32, S (n, B, H, d, d) and z (n, B, H, d)
    conv_state: Tensor  # (n, B, P, D)
    start: int  # absolute index of the block's first latent frame
    frames: int  # latent frames of the block


MOST_SLOTS = 10_000  # blocks kept apart
ALLOWED = "cumulative, window=W, window=W,sink=K or decay=G (W, K whole numbers, 0 < G < 1)"


@dataclass(frozen=True, slots=True)
class MemorySlot:
    """Sums kept apart: of one block, or of all that a running sum has taken in."""

    sums: AttentionState
    start: int = 0  # absolute index of the first latent frame
    frames: int = 0  # latent frames of the block; 0 while the slot is empty

    def moved_to(self, start: int) -> AttentionState:
        """The sums as if the block had begun at latent frame `start`."""
        return AttentionState(shift_in_time(self.sums.S, start - self.start), self.sums.z)


Slots = tuple[MemorySlot, ...]


class MemoryPolicy(Protocol):
    """How slots take a block in, and what the next block sees of them."""

    @property
    def slots(self) -> int:
        """Number of slots, full or not."""
        ...

    def add(self, slots: Slots, block: StateUpdate) -> Slots:
        """The slots after a block."""
        ...

    def view(self, slots: Slots) -> AttentionState:
        """What the next block sees: S (n, B, H, d, d) and z (n, B, H, d), float32."""
        ...


@dataclass(frozen=True, slots=True)
class DecayPolicy:
    """One running sum, `S <- rate * S + S_block`; rate 1 keeps everything."""

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
    """The last `size` blocks, and the first `sink` blocks right before them."""

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
    """A policy and its slots: immutable, of constant size from the first block on."""

    policy: MemoryPolicy
    slots: Slots

    @classmethod
    def empty(cls, policy: MemoryPolicy, nothing: AttentionState) -> Self:
        """Memory of no block; `nothing` are zero sums of the model's shapes."""
        return cls(policy, (MemorySlot(nothing),) * policy.slots)

    def add(self, block: StateUpdate) -> BlockMemory:
        """Memory after one more block."""
        return BlockMemory(self.policy, self.policy.add(self.slots, block))

    def view(self) -> AttentionState:
        """What the next block sees: S (n, B, H, d, d) and z (n, B, H, d), float32."""
        return self.policy.view(self.slots)

    @property
    def nbytes(self) -> int:
        """Size of all slots, full or not."""
        return sum(part.nbytes for slot in self.slots for part in slot.sums)


def parse_memory_policy(text: str) -> MemoryPolicy:
    """Read a policy as the command line and presets write it.

    Raises:
        ConfigError: not one of the forms above, or a number out of its range.
    """
    ARGUMENTS.word("memory", text)
    if text == "cumulative":
        return DecayPolicy(1.0)
    if match := re.fullmatch(r"window=(\d{1,9})(?:,sink=(\d{1,9}))?", text):
        size, sink = int(match[1]), int(match[2] or 0)
        if size + sink > MOST_SLOTS:
            raise ConfigError(f"memory {text}: window and sink hold at most {MOST_SLOTS} blocks")
        if size >= 1:
            return WindowPolicy(size, sink)
    if match := re.fullmatch(r"decay=(\d{0,9}\.?\d{1,20})", text):
        rate = float(match[1])
        if 0 < rate < 1:
            return DecayPolicy(rate)
    raise ConfigError(f"memory {shown(text)} is not known; use {ALLOWED}")
