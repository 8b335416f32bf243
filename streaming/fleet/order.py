"""The order of a stream: everything that its blocks depend on, as JSON.

A block is a pure function of the order and of its number. The order is stored before the first
block that it changes is asked for, so whichever replica makes the block makes the same bits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from sana_stream.engine.block import BlockPlan

if TYPE_CHECKING:
    from sana_stream.engine.snapshot.snapshot import SessionSettings

SUFFIX = ".ckpt"


def snapshot_name(block: int, digest: str) -> str:
    """The name of the snapshot before a block, of the order with this digest up to there."""
    return f"{block:08d}-{digest}{SUFFIX}"


@dataclass(frozen=True, slots=True)
class StreamChange:
    """What changes with one block; None for no change."""

    block: int
    prompt: str | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    image: str | None = None  # name of the picture to cut to, in the stream's folder
    blend: int = 0  # blocks over which the prompts are blended in

    @property
    def empty(self) -> bool:
        """Whether nothing changes."""
        return self == StreamChange(self.block)


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """Up to where a stream was delivered."""

    block: int = 0  # the next one
    frames: int = 0  # of the video that are delivered, rewound ones included


@dataclass(frozen=True, slots=True)
class StreamOrder:
    """One stream: its settings, its prompts by block number, and what the gateway needs of it.

    Attributes:
        settings: of the first block.
        prompt, negative_prompt: of the first block.
        temporal_factor: frames a latent frame.
        guard: the action of the drift guard, which runs on the replica.
        changes: ascending, at most one a block.
        history_frames: how far the stream can be rewound.
        position: up to where the stream was delivered.
        gateway: the gateway's own values; no block depends on them.
    """

    settings: SessionSettings
    prompt: str
    negative_prompt: str
    temporal_factor: int
    guard: str = "off"
    changes: tuple[StreamChange, ...] = ()
    history_frames: int = 0
    position: StreamPosition = StreamPosition()
    gateway: dict[str, Any] | None = None

    def change_at(self, block: int) -> StreamChange:
        """The change with a block; an empty one where nothing changes."""
        found = (change for change in self.changes if change.block == block)
        return next(found, StreamChange(block))

    def with_change(self, change: StreamChange) -> StreamOrder:
        """The order with a change in place of the one of its block."""
        others = [each for each in self.changes if each.block != change.block]
        kept = others if change.empty else [*others, change]
        return replace(self, changes=tuple(sorted(kept, key=lambda each: each.block)))

    def rewound_to(self, block: int) -> StreamOrder:
        """The order without the changes after a block, which is the next one to be made."""
        return replace(self, changes=tuple(c for c in self.changes if c.block <= block))

    def before(self, block: int) -> tuple[str, str, int]:
        """The prompt, the negative prompt and the seed of the block before `block`.

        Before the first block they are those of the order.
        """
        prompt, negative, seed = self.prompt, self.negative_prompt, self.settings.seed
        for change in self.changes:
            if change.block >= block:
                break
            prompt = prompt if change.prompt is None else change.prompt
            negative = negative if change.negative_prompt is None else change.negative_prompt
            seed = seed if change.seed is None else change.seed
        return prompt, negative, seed

    def blends(self, block: int) -> bool:
        """Whether a block is generated from a mixture of the prompts of a blend."""
        end = 0  # first block after the blend
        for change in self.changes:
            if change.block > block:
                break
            if change.blend and change.image is None:
                end = change.block + change.blend
            elif change.prompt is not None or change.image is not None:
                end = change.block
        return block < end

    def plan(self, block: int) -> BlockPlan:
        """The block plan of the stream, with every cut up to a block."""
        plan = BlockPlan(self.settings.block_frames, self.temporal_factor)
        for change in self.changes:
            if change.image is not None and change.block <= block:
                plan = plan.cut(change.block)
        return plan

    def start(self, block: int) -> int:
        """The first pixel frame of a block."""
        return self.plan(block).block(block).start

    def oldest(self, block: int) -> int:
        """The oldest block that the stream can be rewound to when `block` is the next one."""
        if block == 0:
            return 0
        limit = self.start(block - 1) - self.history_frames
        return next((b for b in range(block - 1, 0, -1) if self.start(b) <= limit), 0)

    def digest(self, block: int) -> str:
        """A short hash of all that the stream before a block depends on.

        Snapshots have it in their names, so that those of rewound blocks are never resumed from.
        """
        changes = [asdict(change) for change in self.changes if change.block < block]
        facts = [asdict(self.settings), self.prompt, self.negative_prompt, self.guard, changes]
        words = json.dumps(facts, sort_keys=True).encode()
        return hashlib.blake2b(words, digest_size=4).hexdigest()

    def snapshot_name(self, block: int) -> str:
        """The name of the snapshot before a block."""
        return snapshot_name(block, self.digest(block))

    def snapshots(self, names: Collection[str]) -> list[int]:
        """The blocks that snapshots of these names come before, newest first.

        Names of other orders of the stream, such as those of rewound blocks, are left out.
        """
        found = {int(n[:8]) for n in names if n.endswith(SUFFIX) and n[:8].isdecimal()}
        known = set(names)
        return sorted((b for b in found if self.snapshot_name(b) in known), reverse=True)
