"""In which block of a stream the prompts of clients that watch for it take effect."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from threading import Lock

_BLOCKS_KEPT = 64  # more than a viewer may be behind


@dataclass(frozen=True, slots=True)
class BlockEvents:
    """The prompt events of one block, by their ids.

    Attributes:
        index: number of the block in the run, from 0; rewound blocks count.
        started: events whose prompt is used from this block on.
        active: events that change the prompt of this block: a switch, or a blend that continues.
        completed: events whose prompt is used alone from this block on, and events that ended
            because a later prompt replaced them.
    """

    index: int
    started: tuple[str, ...] = ()
    active: tuple[str, ...] = ()
    completed: tuple[str, ...] = ()


class PromptEvents:
    """Records the events of each block; the run writes, any thread reads.

    An event that was started or requested is reported as completed exactly once. The events of the
    last 64 blocks are kept.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._blocks: deque[tuple[int, BlockEvents]] = deque(maxlen=_BLOCKS_KEPT)
        self._count = 0
        self._active: str | None = None  # its blend continues
        self._prompt: str | None = None  # of the last block; in a blend the one that it leads to

    def begin_block(
        self,
        frame: int,
        prompt: str,
        blends: bool,
        event: str | None = None,
        superseded: tuple[str, ...] = (),
    ) -> None:
        """Record the block that starts at this frame of the video; frames ascend.

        Args:
            frame: of the video.
            prompt: of the block; in a blend the one that it leads to.
            blends: whether the block is generated from a mixture of prompts.
            event: the one that changed the prompt since the last block.
            superseded: the ones that it replaced.
        """
        started, completed = (), superseded
        replaced = event is not None or prompt != self._prompt
        if self._active is not None and replaced:
            completed, self._active = (*completed, self._active), None
        if event is not None:
            started, self._active = (event,), event
        active = () if self._active is None else (self._active,)
        if not blends:
            completed, self._active = (*completed, *active), None
        self._prompt = prompt
        with self._lock:
            events = BlockEvents(self._count, started, active, completed)
            self._blocks.append((frame, events))
            self._count += 1

    def between(self, after: int, frame: int) -> BlockEvents:
        """The events up to the block that this frame of the video belongs to.

        Args:
            after: a frame of the last block whose events were taken; -1: none were.
            frame: the same or a later one.

        Returns:
            The block's index and its active events, with what was started and completed since.
        """
        with self._lock:
            blocks = [each for each in self._blocks if each[0] <= frame]
        taken = max((start for start, _ in blocks if start <= after), default=-1)
        new = [events for start, events in blocks if start > taken]
        if not blocks:
            return BlockEvents(0)
        last = blocks[-1][1]
        return BlockEvents(
            last.index,
            tuple(event for events in new for event in events.started),
            last.active,
            tuple(event for events in new for event in events.completed),
        )
