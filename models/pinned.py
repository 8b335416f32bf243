"""Weights in pinned host memory, packed into few allocations.

The allocator of pinned memory rounds each allocation up to a power of two: one by one, the 4.9 GiB
of Gemma 2B would take 8.1 GiB. Packed into buffers of such sizes they take less than 1 % more.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

ALIGNMENT = 256  # bytes between the starts of two weights
LAST = 64 << 20  # bytes of the last buffer at most


def pack(sizes: Sequence[int]) -> tuple[list[int], list[tuple[int, int]]]:
    """Place items in buffers whose sizes are powers of two.

    Args:
        sizes: bytes of each item.

    Returns:
        Bytes of each buffer, and each item's buffer and offset in it.
    """
    padded = [-(-size // ALIGNMENT) * ALIGNMENT for size in sizes]
    buffers: list[int] = []
    used: list[int] = []
    places = [(0, 0)] * len(sizes)
    left = sum(padded)
    for item in sorted(range(len(sizes)), key=lambda each: -padded[each]):
        size = padded[item]
        fitting = (i for i, taken in enumerate(used) if buffers[i] - taken >= size)
        index = next(fitting, len(buffers))
        if index == len(buffers):
            buffers.append(_buffer_bytes(left, size))
            used.append(0)
        places[item] = index, used[index]
        used[index] += size
        left -= size
    return buffers, places


def _buffer_bytes(left: int, item: int) -> int:
    """Bytes of a new buffer for one of the items left, which take `left` bytes together.

    The largest power of two that they fill, or the smallest one that holds the item. The last
    buffer, of at most 64 MiB, holds them all.
    """
    if left <= LAST:
        return _power_of_two(left)
    return max(1 << left.bit_length() - 1, _power_of_two(item))


def _power_of_two(size: int) -> int:
    """The smallest power of two that is not below a size."""
    return 1 << max(size - 1, 0).bit_length()


def pin_weights(module: nn.Module) -> None:
    """Move all parameters and buffers of a module on the CPU into pinned memory.

    Raises:
        RuntimeError: there is no CUDA device, or the host has no memory to pin; the weights that
            are not moved yet stay where they are.
    """
    weights = list({id(each): each for each in (*module.parameters(), *module.buffers())}.values())
    buffers, places = pack([weight.nbytes for weight in weights])
    # buffer by buffer, so that the memory of what is moved already is free for the next one
    for index, size in enumerate(buffers):
        buffer = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        for weight, (own, offset) in zip(weights, places, strict=True):
            if own == index:
                view = buffer[offset : offset + weight.nbytes].view(weight.dtype)
                weight.data = view.view(weight.shape).copy_(weight.detach())
