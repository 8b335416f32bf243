"""Decoding of large frames in overlapping tiles, which are blended."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

TILE = 512  # pixels along one side
STEP = 448  # pixels from one tile to the next; the rest of a tile is blended


def decode_tiles(decode: Callable[[Tensor], Tensor], latents: Tensor, factor: int) -> Tensor:
    """Decode latents tile by tile.

    Args:
        decode: decodes latents (B, C, T', h, w) to frames (B, 3, T, H, W).
        latents: of any size; up to 512 pixels a side they are decoded at once.
        factor: pixels along one side of a latent pixel.

    Returns:
        The frames (B, 3, T, H, W); overlaps of 64 pixels fade linearly from one tile to the next.
    """
    rows = [
        _blend([decode(tile) for tile in _split(row, 4, factor)], 4, factor)
        for row in _split(latents, 3, factor)
    ]
    return _blend(rows, 3, factor)


def _split(latents: Tensor, dim: int, factor: int) -> Iterator[Tensor]:
    size, side, step = latents.shape[dim], max(1, TILE // factor), max(1, STEP // factor)
    start = 0
    while True:
        yield latents.narrow(dim, start, min(side, size - start))
        if start + side >= size:
            return
        start += step


def _blend(tiles: list[Tensor], dim: int, factor: int) -> Tensor:
    """Join tiles along one axis; each fades into the next where they overlap."""
    step = max(1, STEP // factor) * factor
    joined = tiles[0]
    for number, tile in enumerate(tiles[1:], 1):
        start = number * step
        overlap = joined.shape[dim] - start
        before, shared = joined.split((start, overlap), dim)
        weights = torch.arange(overlap, device=tile.device) / overlap
        weights = weights.view(-1, *(1,) * (tile.ndim - 1 - dim))
        faded = torch.lerp(shared, tile.narrow(dim, 0, overlap), weights)
        rest = tile.narrow(dim, overlap, tile.shape[dim] - overlap)
        joined = torch.cat((before, faded, rest), dim)
    return joined
