"""What to do when a stream's pictures drift: say so, or lead it back."""

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


SETTLING_BLOCKS = 4  # at least, and so many latent frames
SETTLING_FRAMES = 16
MOVING = 1.2  # a factor from one block to the next
MOVING_BLOCKS = 12  # how long a picture that still moves is waited for


def settling_blocks(snapshot: Snapshot) -> int:
    """In how many blocks from now on a planned change may still be coming into the picture.

    A sum over the whole past holds as much of what was before as there was of it.
    """
    least = max(SETTLING_BLOCKS, ceil(SETTLING_FRAMES / snapshot.settings.block_frames))
    policy = parse_memory_policy(snapshot.settings.memory)
    past = (
        policy.size
        if isinstance(policy, WindowPolicy)
        else snapshot.next_index - snapshot.shot.index
    )
    return max(least, min(past, 4 * least))


def anchor_to_sink(snapshot: Snapshot) -> Snapshot:
    """The stream with its sink right before the last block, and nothing else of the past.

    Raises:
        ConfigError: a memory without a sink.
    """
    check_action("anchor", snapshot.settings.memory)
    return replace(snapshot, states=tuple(_sink_alone(state) for state in snapshot.states))


def restart_from(snapshot: Snapshot, recovery: RecoveryPoint, model: LoadedModel) -> Snapshot:
    """The stream with the last block of `good` as its only past; its prompt and place are kept.

    Args:
        good: of the same stream, from before it drifted, after one block or more.
    """
    assert recovery.recent, "a stream cannot be restarted before its first block"
    plan = snapshot.plan(model.vae.config.temporal_factor)
    position = plan.block(snapshot.next_index).latent_start - recovery.recent[-1].shape[2]
    empty = initial_snapshot(model, snapshot.settings, snapshot.prompt, snapshot.negative_prompt)
    states = tuple(replace(state, position=position) for state in empty.states)
    return replace(snapshot, states=states, recent_latents=recovery.recent, cache=recovery.cache)


def check_action(action: str, memory: str) -> None:
    """Refuse an action that is not known or that this memory cannot take.

    Raises:
        ConfigError: says what is allowed.
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
    """Watches the blocks of one session and acts when they drift.

    The look of each block is held against the first blocks under the same prompt. A change that
    was asked for (of prompt, negative prompt or seed, a cut to a picture, a step back) comes into
    the picture over several blocks, because the past still shows what was before: these are no
    drift, and no measure of what follows either. After an action as many blocks pass before the
    next one. What an earlier guard knew of the stream is taken over from the session's snapshot.

    Args:
        action: "off", "warn", "anchor" or "restart".
        limit: the drift that is too much, a factor.
        given: the stream begins with a picture or a clip, which its prompt may change.

    Raises:
        ConfigError: an action that the session's memory cannot take.
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
        self._watch = None if action == "off" else snapshot.drift_reference
        if self._watch is not None and action != "restart":
            self._watch = replace(self._watch, recovery=None)
        session.advance_to(replace(snapshot, drift_reference=None))  # from here on it is known here

    def check(self, block: Block) -> str | None:
        """Look at the block that the session has just given; what was done, if anything was."""
        look = block.stats.look
        if look is None:
            return None
        watch = self._present(block, look)
        self.drift = 1.0 if watch.settling else look.ratio_to(watch.reference)
        if watch.settling:
            self._watch = self._settled(watch, look)
            return None
        if self.drift <= self._limit or self._action == "off":
            self._watch = self._accepted(watch, look)
            return None
        if watch.cooldown:
            self._watch = replace(watch, cooldown=watch.cooldown - 1, last=look)
            return None
        self._watch = replace(watch, cooldown=BEGINNING_BLOCKS, last=look)
        action = self._act(watch.recovery)
        return f"block {block.index} looks {self.drift:.1f} times different; {action}"

    def with_reference(self, snapshot: Snapshot) -> Snapshot:
        """The session's snapshot with what is known here, to be saved."""
        return replace(snapshot, drift_reference=None if self._action == "off" else self._watch)

    def _present(self, block: Block, look: FrameStats) -> DriftReference:
        """What is known, as it is after what was asked for with this block."""
        now, watch = self._session.snapshot(), self._watch
        asked = now.negative_prompt, now.settings.seed
        cut = now.shot.index == block.index
        if watch is None or (cut and block.index == 0):
            anew = DriftReference(block.prompt, look, last=look)
            planned = self._given if block.index == now.shot.index else True
        else:
            anew = replace(watch, prompt=block.prompt)
            back = block.index <= watch.index
            planned = cut or back or watch.prompt != block.prompt
            planned = planned or (watch.index >= 0 and (watch.negative, watch.seed) != asked)
            if cut or back:  # nothing before it counts
                anew = replace(anew, recovery=None, cooldown=0)
        anew = replace(anew, negative=asked[0], seed=asked[1], index=block.index)
        if not planned:
            return anew
        blocks = settling_blocks(now)
        return replace(anew, reference=look, blocks=0, settling=blocks, longer=MOVING_BLOCKS)

    def _settled(self, watch: DriftReference, look: FrameStats) -> DriftReference:
        """One more block in which a change came into the picture, now perhaps the last one."""
        left, longer = watch.settling - 1, watch.longer
        if not left and longer and watch.last is not None and look.ratio_to(watch.last) > MOVING:
            left, longer = 1, longer - 1
        quiet, good = max(0, watch.cooldown - 1), self._way_back()
        return replace(
            watch,
            reference=look,
            last=look,
            settling=left,
            longer=longer,
            cooldown=quiet,
            recovery=good,
        )

    def _accepted(self, watch: DriftReference, look: FrameStats) -> DriftReference:
        """A block as it should be: the first ones make the reference, each is a way back."""
        return replace(
            watch,
            reference=update_reference(watch.reference, look, watch.blocks),
            blocks=watch.blocks + 1,
            cooldown=max(0, watch.cooldown - 1),
            recovery=self._way_back(),
            last=look,
        )

    def _way_back(self) -> RecoveryPoint | None:
        return self._session.snapshot().recovery_point if self._action == "restart" else None

    def _act(self, good: RecoveryPoint | None) -> str:
        session = self._session
        if self._action == "anchor":
            session.advance_to(anchor_to_sink(session.snapshot()))
            return "the memory goes back to the stream's first blocks"
        if self._action == "restart" and good is not None:
            session.advance_to(restart_from(session.snapshot(), good, self._model))
            return "the stream starts again from the last good picture"
        return "it drifts away from its beginning"


def _sink_alone(state: StreamState) -> StreamState:
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
