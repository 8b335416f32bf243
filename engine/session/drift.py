"""Detection of drift of a stream's frames, and actions against it."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING

import torch

from sana_stream.engine.block import Block
from sana_stream.engine.frame_stats import BEGINNING_BLOCKS, FrameStats, update_reference
from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.snapshot.snapshot import (
    DriftReference,
    RecoveryPoint,
    Snapshot,
    initial_snapshot,
)
from sana_stream.errors import ConfigError
from sana_stream.models.attention import AttentionState
from sana_stream.models.memory_policy import (
    BlockMemory,
    MemorySlot,
    WindowPolicy,
    parse_memory_policy,
)
from sana_stream.models.state import StreamState

if TYPE_CHECKING:
    from .session import Session

ACTIONS = ("off", "warn", "anchor", "restart")
DRIFT_LIMIT = 2.5  # a factor; night after day under one prompt stays below it


SETTLING_BLOCKS = 4  # at least
SETTLING_FRAMES = 16  # latent frames, at least
MOVING = 1.2  # a factor from one block to the next
MOVING_BLOCKS = 12  # how much longer to wait while the frames still change


def settling_blocks(snapshot: Snapshot) -> int:
    """How many blocks a requested change may take to become visible.

    With cumulative memory that grows with the length of the past. In a blend it begins with each
    block.
    """
    least = max(SETTLING_BLOCKS, ceil(SETTLING_FRAMES / snapshot.settings.block_frames))
    policy = parse_memory_policy(snapshot.settings.memory)
    past = (
        policy.size
        if isinstance(policy, WindowPolicy)
        else snapshot.next_index - snapshot.shot.index
    )
    blend = 0 if snapshot.blend is None else snapshot.blend.left
    return max(least, min(past, 4 * least)) + blend


def anchor_to_sink(snapshot: Snapshot) -> Snapshot:
    """The stream with only the sink of its memory, moved to right before the last block.

    Raises:
        ConfigError: the memory policy has no sink.
    """
    check_action("anchor", snapshot.settings.memory)
    return replace(snapshot, states=tuple(_sink_only(state) for state in snapshot.states))


def restart_from(snapshot: Snapshot, recovery: RecoveryPoint, model: LoadedModel) -> Snapshot:
    """The stream with the last block of a recovery point as its only past.

    Its prompt and position are kept.

    Args:
        recovery: of the same stream, from before it drifted, after at least one block.
    """
    assert recovery.recent, "a stream cannot be restarted before its first block"
    plan = snapshot.plan(model.vae.config.temporal_factor)
    position = plan.block(snapshot.next_index).latent_start - recovery.recent[-1].shape[2]
    empty = initial_snapshot(model, snapshot.settings, snapshot.prompt, snapshot.negative_prompt)
    states = tuple(replace(state, position=position) for state in empty.states)
    return replace(snapshot, states=states, recent_latents=recovery.recent, cache=recovery.cache)


def check_action(action: str, memory: str) -> None:
    """Check an action against a memory policy.

    Raises:
        ConfigError: an unknown action, or "anchor" with a memory without a sink.
    """
    if action not in ACTIONS:
        raise ConfigError(f"guard {action!r} is not known; use {', '.join(ACTIONS)}")
    policy = parse_memory_policy(memory)
    if action == "anchor" and not (isinstance(policy, WindowPolicy) and policy.sink):
        raise ConfigError(
            f"guard anchor needs a memory with a sink, this one is {memory};"
            " use window=W,sink=K, or guard restart"
        )


class DriftGuard:
    """Compares the blocks of one session with a reference and acts when they drift.

    The reference is the mean of the first blocks under the same prompt. A requested change (of
    prompt, negative prompt or seed, a cut, a rewind) becomes visible over several blocks, because
    the past still shows what was before. These blocks neither count as drift nor make the
    reference. After an action some blocks pass before the next one. The reference of an earlier
    guard is taken from the session's snapshot.

    Args:
        action: "off", "warn", "anchor" or "restart".
        limit: the factor from which on an action is taken.
        given: the stream starts from an image or a clip, which its prompt may change.

    Raises:
        ConfigError: an unknown action, or one that the session's memory does not support.
    """

    def __init__(
        self,
        session: Session,
        model: LoadedModel,
        action: str,
        limit: float = DRIFT_LIMIT,
        *,
        given: bool = False,
    ) -> None:
        snapshot = session.snapshot()
        check_action(action, snapshot.settings.memory)
        self.drift = 1.0  # of the last block, from the first ones under its prompt
        self._session = session
        self._model = model
        self._action = action
        self._limit = limit
        self._given = given
        self._reference = None if action == "off" else snapshot.drift_reference
        if self._reference is not None and action != "restart":
            self._reference = replace(self._reference, recovery=None)
        session.advance_to(replace(snapshot, drift_reference=None))  # this guard has it now

    def check(self, block: Block) -> str | None:
        """Check the block that the session has just returned.

        Returns:
            A message where the block has drifted, with what was done; else `None`.
        """
        stats = block.stats.look
        if stats is None:
            return None
        current = self._present(block, stats)
        self.drift = 1.0 if current.settling else stats.ratio_to(current.reference)
        if current.settling:
            self._reference = self._settled(current, stats)
            return None
        if self.drift <= self._limit or self._action == "off":
            self._reference = self._accepted(current, stats)
            return None
        if current.cooldown:
            self._reference = replace(current, cooldown=current.cooldown - 1, last=stats)
            return None
        self._reference = replace(current, cooldown=BEGINNING_BLOCKS, last=stats)
        action = self._act(current.recovery)
        return f"block {block.index + 1} has drifted by a factor of {self.drift:.1f}; {action}"

    def with_reference(self, snapshot: Snapshot) -> Snapshot:
        """The session's snapshot with the drift reference, to be saved."""
        return replace(snapshot, drift_reference=None if self._action == "off" else self._reference)

    def _present(self, block: Block, stats: FrameStats) -> DriftReference:
        """The reference after the changes that were requested with this block."""
        now, current = self._session.snapshot(), self._reference
        requested = now.negative_prompt, now.settings.seed
        cut = now.shot.index == block.index
        if current is None or (cut and block.index == 0):
            new = DriftReference(block.prompt, stats, last=stats)
            planned = self._given if block.index == now.shot.index else True
        else:
            new = replace(current, prompt=block.prompt)
            rewound = block.index <= current.index
            planned = cut or rewound or current.prompt != block.prompt
            planned = planned or (
                current.index >= 0 and (current.negative, current.seed) != requested
            )
            if cut or rewound:  # nothing before it counts
                new = replace(new, recovery=None, cooldown=0)
        new = replace(new, negative=requested[0], seed=requested[1], index=block.index)
        if not planned:
            return new
        blocks = settling_blocks(now)
        return replace(new, reference=stats, blocks=0, settling=blocks, longer=MOVING_BLOCKS)

    def _settled(self, current: DriftReference, stats: FrameStats) -> DriftReference:
        """The reference after one more block in which a change may still become visible."""
        left, longer = current.settling - 1, current.longer
        if (
            not left
            and longer
            and current.last is not None
            and stats.ratio_to(current.last) > MOVING
        ):
            left, longer = 1, longer - 1
        return replace(
            current,
            reference=stats,
            last=stats,
            settling=left,
            longer=longer,
            cooldown=max(0, current.cooldown - 1),
            recovery=self._recovery_point(),
        )

    def _accepted(self, current: DriftReference, stats: FrameStats) -> DriftReference:
        """The reference after a block without drift, which is a recovery point."""
        return replace(
            current,
            reference=update_reference(current.reference, stats, current.blocks),
            blocks=current.blocks + 1,
            cooldown=max(0, current.cooldown - 1),
            recovery=self._recovery_point(),
            last=stats,
        )

    def _recovery_point(self) -> RecoveryPoint | None:
        return self._session.snapshot().recovery_point if self._action == "restart" else None

    def _act(self, recovery: RecoveryPoint | None) -> str:
        session = self._session
        if self._action == "anchor":
            session.advance_to(anchor_to_sink(session.snapshot()))
            return "the memory is reset to the stream's first blocks"
        if self._action == "restart" and recovery is not None:
            session.advance_to(restart_from(session.snapshot(), recovery, self._model))
            return "the stream is restarted from the last block without drift"
        return "no action is taken"


def _sink_only(state: StreamState) -> StreamState:
    slots, policy = state.memory.slots, state.memory.policy
    assert isinstance(policy, WindowPolicy)
    sinks = slots[: policy.sink]
    start = state.position - sum(slot.frames for slot in sinks)
    kept = []
    for slot in sinks:
        kept.append(MemorySlot(slot.moved_to(start), start, slot.frames) if slot.frames else slot)
        start += slot.frames
    empty = MemorySlot(AttentionState(*(torch.zeros_like(part) for part in slots[0].sums)))
    return replace(state, memory=BlockMemory(policy, (*kept, *(empty,) * policy.size)))
