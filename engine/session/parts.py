"""Delivery of a block's frames in parts, while the rest of the block is decoded."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from sana_stream.engine.block import BlockPart, BlockSpan

TakePart = Callable[[BlockPart], None]
"""Takes a part; called on the thread that decodes, which waits for it."""


class PartDelivery:
    """Delivers the parts of one block, each frame once.

    Where memory runs out the block is decoded again in smaller pieces, whose frames may differ by
    rounding. Frames that were delivered before are not delivered again, and the complete block has
    them as delivered.

    Args:
        take: is called with each part.
        span: the block.
        prompt: of the block.
    """

    def __init__(self, take: TakePart, span: BlockSpan, prompt: str) -> None:
        self._take = take
        self._span = span
        self._prompt = prompt
        self._delivered: list[Tensor] = []
        self._count = 0

    def deliver(self, frames: Tensor, offset: int) -> None:
        """Deliver what is new of frames, uint8 (T, H, W, 3), the first one number `offset`."""
        new = frames[max(0, self._count - offset) :]
        if not len(new):
            return
        start, offset = self._span.start + self._count, self._count
        self._delivered.append(new)
        self._count += len(new)
        self._take(BlockPart(self._span.index, start, offset, new.numpy(), self._prompt))

    def restore(self, frames: Tensor) -> None:
        """Put the frames as delivered into the block's, uint8 (T, H, W, 3)."""
        start = 0
        for part in self._delivered:
            same = frames[start : start + len(part)]
            if part.data_ptr() != same.data_ptr():
                same.copy_(part)
            start += len(part)
