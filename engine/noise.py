"""Noise as a function of (seed, block, step), so that any block can be generated again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sana_stream._arguments import ARGUMENTS, shown
from sana_stream.errors import ConfigError

NoiseSource = Callable[[int, int, tuple[int, ...]], Tensor]
"""`(block_index, step_index, shape) -> tensor` of standard normal noise."""

SEED_LIMIT = 2**63


def counter_noise(seed: int) -> NoiseSource:
    """Standard normal noise, float32 on the CPU, from the counter-based generator Philox.

    The seed is the generator's key, block and step are words of its counter. It has no state, so
    noise does not depend on the device, on earlier noise, or on where a stream was resumed
    (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).

    Raises:
        ConfigError: a seed outside 0 to 2**63 - 1.
    """
    return CounterNoise(check_seed(seed))


@dataclass(frozen=True, slots=True)
class CounterNoise:
    """The noise of a seed; see `counter_noise`."""

    seed: int

    def __call__(self, block: int, step: int, shape: tuple[int, ...]) -> Tensor:
        words = np.random.Philox(key=self.seed, counter=[0, 0, step, block])
        values = np.random.Generator(words).standard_normal(shape, dtype=np.float32)
        return torch.from_numpy(values)


def check_seed(seed: object) -> int:
    """Check a seed and return it as `int`.

    Raises:
        ConfigError: not a whole number from 0 to 2**63 - 1.
    """
    return ARGUMENTS.whole("seed", seed, 0, SEED_LIMIT - 1)


def check_noise(noise: object) -> NoiseSource | None:
    """Wrap a caller's noise source so that each tensor is checked before it is used.

    Non-finite values are let through: the block is then sampled again with other noise.

    Raises:
        ConfigError: not callable. The wrapped source raises it for anything but a floating-point
            tensor of the requested shape.
    """
    if noise is None:
        return None
    if not callable(noise):
        raise ConfigError(
            f"noise {shown(noise)}: give a function (block_index, step_index, shape) -> tensor"
        )

    def checked(block: int, step: int, shape: tuple[int, ...]) -> Tensor:
        drawn = noise(block, step, shape)
        name = f"noise for block_index {block}, step_index {step}"
        if not isinstance(drawn, Tensor) or not drawn.is_floating_point():
            kind = drawn.dtype if isinstance(drawn, Tensor) else shown(drawn)
            raise ConfigError(f"{name} is {kind}: give a tensor of floating-point numbers")
        if tuple(drawn.shape) != tuple(shape):
            raise ConfigError(f"{name} has shape {tuple(drawn.shape)}: give {tuple(shape)}")
        return drawn

    return checked
