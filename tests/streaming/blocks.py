"""A stream of blocks without a model: moving texture, the frame number drawn in as bits."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from itertools import count, islice
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sana_stream.engine.block import Block, BlockStats

if TYPE_CHECKING:
    from sana_stream.streaming.outputs.base import Output

WIDTH, HEIGHT, FPS = 96, 64, 16
_BITS, _CELL = 12, 8  # twelve cells of 8 by 8 pixels, the lowest bit on the left
_STATS = BlockStats(0.0, 0.0, 0.1, 0.1, 1 << 20, 1 << 20, 1 << 10)


def picture(number: int) -> np.ndarray:
    """Frame `number`, uint8 (64, 96, 3)."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    texture = 128 + 60 * np.sin((x + 2 * number) / 7) * np.cos((y + number) / 9)
    frame = np.stack([texture, np.roll(texture, 5, 0), 255 - texture], -1).astype(np.uint8)
    for bit in range(_BITS):
        frame[:_CELL, bit * _CELL : (bit + 1) * _CELL] = 255 * (number >> bit & 1)
    return frame


def number_of(frame: np.ndarray) -> int:
    """Which frame a decoded picture shows."""
    cells = frame[1 : _CELL - 1, :, :].mean(axis=(0, 2)).reshape(_BITS, _CELL)[:, 1:-1].mean(1)
    return sum(1 << bit for bit, light in enumerate(cells) if light > 127)


def make_block(index: int, start: int, frames: int, prompt: str = "a red boat") -> Block:
    pictures = np.stack([picture(start + offset) for offset in range(frames)])
    latents = cast(Any, np.zeros((1, 1, 1, 1, 1), np.float32))  # no output looks at them
    return Block(index, start, pictures, latents, prompt, _STATS)


def blocks(
    limit: int | None = None, size: int = 16, prompts: tuple[str, ...] = ()
) -> Iterator[Block]:
    """Blocks as a session gives them, the first one frame longer; block n has prompt n."""
    start = 0
    for index in count() if limit is None else range(limit):
        length = size + (index == 0)
        prompt = prompts[min(index, len(prompts) - 1)] if prompts else "a red boat"
        yield make_block(index, start, length, prompt)
        start += length


def pour(output: Output, source: Iterable[Block] | None = None, count: int = 5000) -> None:
    """Write `count` blocks one after the other."""
    for block in islice(blocks() if source is None else source, count):
        output.write(block)


def colour(prompt: str) -> np.ndarray:
    """The colour that encodes a prompt, uint8 (3,)."""
    return np.frombuffer(zlib.crc32(prompt.encode()).to_bytes(4), np.uint8)[:3]
