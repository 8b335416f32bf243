"""A stream moved along in time: the same past, farther from the beginning."""

from __future__ import annotations

from dataclasses import replace

from ..models.memory import Slot
from ..models.state import State
from .snapshot import Snapshot


def moved(snapshot: Snapshot, blocks: int) -> Snapshot:
    """The snapshot as if `blocks` more blocks had gone before its past.

    RoPE sees distances only, so the next block is the same, given the same noise.
    """
    frames = blocks * snapshot.settings.block_frames
    states = tuple(_moved_state(state, frames) for state in snapshot.states)
    return replace(snapshot, index=snapshot.index + blocks, states=states)


def _moved_state(state: State, frames: int) -> State:
    slots = tuple(_moved_slot(slot, frames) for slot in state.memory.slots)
    memory = replace(state.memory, slots=slots)
    return replace(state, memory=memory, position=state.position + frames)


def _moved_slot(slot: Slot, frames: int) -> Slot:
    start = slot.start + frames
    return replace(slot, sums=slot.moved_to(start), start=start)
