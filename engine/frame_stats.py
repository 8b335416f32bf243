"""Brightness, contrast and saturation of frames, by which drift is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

BEGINNING_BLOCKS = 4  # of a stream or prompt, which make the reference
STEP = 4  # every fourth row and column are enough
_FLOOR = 0.02  # smaller differences are invisible; keeps ratios of dark frames stable


@dataclass(frozen=True, slots=True)
class FrameStats:
    """Brightness, contrast and saturation, each a mean over frames, 0 to 1."""

    brightness: float  # mean of luma
    contrast: float  # standard deviation of luma within a frame
    saturation: float  # largest minus smallest of R, G, B

    @classmethod
    def mean(cls, values: Tensor) -> Self:
        """The mean over frames; `values` (T, 3) is what `measure_frames` returned, on the CPU."""
        return cls(*values.mean(0).tolist())

    def lerp(self, other: FrameStats, share: float) -> FrameStats:
        """Interpolate linearly; `share` 0 is this record, 1 the other."""
        mine, others = self.values, other.values
        return FrameStats(*(a + share * (b - a) for a, b in zip(mine, others, strict=True)))

    def ratio_to(self, beginning: FrameStats) -> float:
        """The factor, 1 or more, by which the value that differs most has grown or shrunk."""
        ratios = [
            (now + _FLOOR) / (then + _FLOOR)
            for now, then in zip(self.values, beginning.values, strict=True)
        ]
        return max(max(ratio, 1 / ratio) for ratio in ratios)

    @property
    def values(self) -> tuple[float, float, float]:
        """Brightness, contrast, saturation."""
        return self.brightness, self.contrast, self.saturation


def measure_frames(frames: Tensor) -> Tensor:
    """Measure frames, uint8 (T, H, W, 3), on their device; luma weights of BT.709.

    Returns:
        Float32 (T, 3): brightness, contrast and saturation of each frame, for `FrameStats.mean`.
    """
    pixels = frames[:, ::STEP, ::STEP].float() / 255
    red, green, blue = pixels.unbind(-1)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    spread = pixels.amax(-1) - pixels.amin(-1)
    inside = (1, 2)
    values = luma.mean(inside), luma.std(inside, correction=0), spread.mean(inside)
    return torch.stack(values, dim=1)


def update_reference(reference: FrameStats | None, stats: FrameStats, index: int) -> FrameStats:
    """The mean over the first blocks, after one more block.

    Args:
        reference: the mean so far; `None` before the first block.
        stats: of the new block.
        index: its number from 0; from `BEGINNING_BLOCKS` on the mean stays as it is.
    """
    if reference is None:
        return stats
    if index >= BEGINNING_BLOCKS:
        return reference
    return reference.lerp(stats, 1 / (index + 1))
