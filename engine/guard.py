"""What to do when a stream's pictures drift: say so, or lead it back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from ..models.attention import Sums
from ..models.errors import ConfigError
from ..models.memory import Memory, Slot, Window, parse_policy
from ..models.state import State
from .block import Block
from .health import BEGINNING_BLOCKS, beginning_with
from .look import Look
from .plan import BlockPlan
from .snapshot import Snapshot

if TYPE_CHECKING:
    from .engine import Engine
    from .session import Session

ACTIONS = ("off", "warn", "anchor", "restart")
DRIFT_LIMIT = 2.5  # a factor; night after day under one prompt stays below it


def anchored(snapshot: Snapshot) -> Snapshot:
    """The stream with its sink right before the last block, and nothing else of the past.

    Raises:
        ConfigError: a memory without a sink.
    """
    check_action("anchor", snapshot.settings.memory)
    return replace(snapshot, states=tuple(_sink_alone(state) for state in snapshot.states))


def restarted(snapshot: Snapshot, good: Snapshot, engine: Engine) -> Snapshot:
    """The stream with the last block of `good` as its only past; its prompt and place are kept.

    Args:
        good: of the same stream, from before it drifted, after one block or more.
    """
    pending = good.pending
    assert pending is not None, "a stream cannot be restarted before its first block"
    plan = BlockPlan(snapshot.settings.block_frames, engine.vae.config.temporal_factor)
    position = plan.block(snapshot.index).latent_start - pending.shape[2]
    empty = engine.beginning(snapshot.settings, snapshot.prompt, snapshot.negative_prompt)
    states = tuple(replace(state, position=position) for state in empty.states)
    return replace(snapshot, states=states, recent=good.recent, cache=good.cache)


def check_action(action: str, memory: str) -> None:
    """Refuse an action that is not known or that this memory cannot take.

    Raises:
        ConfigError: says what is allowed.
    """
    if action not in ACTIONS:
        raise ConfigError(f"guard {action!r} is not known; use {', '.join(ACTIONS)}")
    policy = parse_policy(memory)
    if action == "anchor" and not (isinstance(policy, Window) and policy.sink):
        raise ConfigError(
            f"guard anchor needs a memory with a sink, this one is {memory};"
            " use window=W,sink=K, or guard restart"
        )


@dataclass(frozen=True, slots=True)
class _Reference:
    """How the pictures looked when the present prompt took over."""

    prompt: str
    look: Look
    blocks: int


class Guard:
    """Watches the blocks of one session and acts when they drift.

    The look of each block is held against the first blocks under the same prompt: a new prompt
    may look as it likes. After an action as many blocks pass before the next one.

    Args:
        action: "off", "warn", "anchor" or "restart".
        limit: the drift that is too much, a factor.

    Raises:
        ConfigError: an action that the session's memory cannot take.
    """

    def __init__(
        self, session: Session, engine: Engine, action: str, limit: float = DRIFT_LIMIT
    ) -> None:
        check_action(action, session.snapshot().settings.memory)
        self._session = session
        self._engine = engine
        self._action = action
        self._limit = limit
        self._reference: _Reference | None = None
        self._good: Snapshot | None = None
        self._quiet = 0  # blocks to let pass

    def watch(self, block: Block) -> str | None:
        """Look at the block that the session has just given; what was done, if anything was."""
        look, reference = block.stats.look, self._reference
        if self._action == "off" or look is None:
            return None
        if reference is None or reference.prompt != block.prompt:
            reference = self._reference = _Reference(block.prompt, look, 0)
        drift = look.drift(reference.look)
        if drift <= self._limit:
            self._accept(reference, look)
            return None
        if self._quiet:
            self._quiet -= 1
            return None
        self._quiet = BEGINNING_BLOCKS
        return f"block {block.index} looks {drift:.1f} times different; {self._act()}"

    def _accept(self, reference: _Reference, look: Look) -> None:
        """A block as it should be: the first ones make the reference, each is a way back."""
        mean = beginning_with(reference.look, look, reference.blocks)
        self._reference = _Reference(reference.prompt, mean, reference.blocks + 1)
        self._quiet = max(0, self._quiet - 1)
        if self._action == "restart":
            self._good = self._session.snapshot()

    def _act(self) -> str:
        session = self._session
        if self._action == "anchor":
            session.settle(anchored(session.snapshot()))
            return "the memory goes back to the stream's first blocks"
        if self._action == "restart" and self._good is not None:
            session.settle(restarted(session.snapshot(), self._good, self._engine))
            return "the stream starts again from the last good picture"
        return "it drifts away from its beginning"


def _sink_alone(state: State) -> State:
    slots, policy = state.memory.slots, state.memory.policy
    assert isinstance(policy, Window)
    sinks = slots[: policy.sink]
    start = state.position - sum(slot.frames for slot in sinks)
    kept = []
    for slot in sinks:
        kept.append(Slot(slot.moved_to(start), start, slot.frames) if slot.frames else slot)
        start += slot.frames
    empty = Slot(Sums(*(torch.zeros_like(part) for part in slots[0].sums)))
    return replace(state, memory=Memory(policy, (*kept, *(empty,) * policy.size)))
