"""What to do when a stream's pictures drift: say so, or lead it back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ..models.attention import Sums
from ..models.errors import ConfigError
from ..models.memory import Memory, Slot, Window, parse_policy
from ..models.state import State
from .block import Block
from .health import BEGINNING_BLOCKS, beginning_with
from .look import Look
from .snapshot import Snapshot
from .watch import Ending, Watch

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


def restarted(snapshot: Snapshot, good: Ending, engine: Engine) -> Snapshot:
    """The stream with the last block of `good` as its only past; its prompt and place are kept.

    Args:
        good: of the same stream, from before it drifted, after one block or more.
    """
    assert good.recent, "a stream cannot be restarted before its first block"
    plan = snapshot.plan(engine.vae.config.temporal_factor)
    position = plan.block(snapshot.index).latent_start - good.recent[-1].shape[2]
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


class Guard:
    """Watches the blocks of one session and acts when they drift.

    The look of each block is held against the first blocks under the same prompt: a new prompt
    may look as it likes. After an action as many blocks pass before the next one. What an earlier
    guard knew of the stream is taken over from the session's snapshot.

    Args:
        action: "off", "warn", "anchor" or "restart".
        limit: the drift that is too much, a factor.

    Raises:
        ConfigError: an action that the session's memory cannot take.
    """

    def __init__(
        self, session: Session, engine: Engine, action: str, limit: float = DRIFT_LIMIT
    ) -> None:
        snapshot = session.snapshot()
        check_action(action, snapshot.settings.memory)
        self._session = session
        self._engine = engine
        self._action = action
        self._limit = limit
        self._watch = None if action == "off" else snapshot.watch
        if self._watch is not None and action != "restart":
            self._watch = replace(self._watch, good=None)
        session.settle(replace(snapshot, watch=None))  # from here on it is known here

    def watch(self, block: Block) -> str | None:
        """Look at the block that the session has just given; what was done, if anything was."""
        look = block.stats.look
        if self._action == "off" or look is None:
            return None
        watch = self._watch or Watch(block.prompt, look)
        if self._session.snapshot().take.index == block.index:  # nothing before it counts
            watch = Watch(block.prompt, look)
        if watch.prompt != block.prompt:
            watch = Watch(block.prompt, look, quiet=watch.quiet, good=watch.good)
        drift = look.drift(watch.look)
        if drift <= self._limit:
            self._watch = self._accepted(watch, look)
            return None
        if watch.quiet:
            self._watch = replace(watch, quiet=watch.quiet - 1)
            return None
        self._watch = replace(watch, quiet=BEGINNING_BLOCKS)
        return f"block {block.index} looks {drift:.1f} times different; {self._act(watch.good)}"

    def known(self, snapshot: Snapshot) -> Snapshot:
        """The session's snapshot with what is known here, to be saved."""
        return replace(snapshot, watch=self._watch)

    def _accepted(self, watch: Watch, look: Look) -> Watch:
        """A block as it should be: the first ones make the reference, each is a way back."""
        return Watch(
            watch.prompt,
            beginning_with(watch.look, look, watch.blocks),
            watch.blocks + 1,
            max(0, watch.quiet - 1),
            self._session.snapshot().ending if self._action == "restart" else None,
        )

    def _act(self, good: Ending | None) -> str:
        session = self._session
        if self._action == "anchor":
            session.settle(anchored(session.snapshot()))
            return "the memory goes back to the stream's first blocks"
        if self._action == "restart" and good is not None:
            session.settle(restarted(session.snapshot(), good, self._engine))
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
