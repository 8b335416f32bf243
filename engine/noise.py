"""Noise as a function of (seed, block, step): any block can be made again, anywhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..models.errors import ConfigError

NoiseSource = Callable[[int, int, tuple[int, ...]], Tensor]
"""`(block_index, step_index, shape) -> tensor` of standard normal noise."""

SEED_LIMIT = 2**63


def counter_noise(seed: int) -> NoiseSource:
    """Standard normal noise, float32 on the CPU, from the counter-based generator Philox.

    The seed is the generator's key, block and step are words of its counter: no state runs from
    one draw to the next, so noise does not depend on the device, on what was drawn before, or on
    where a stream was taken up again (Salmon et al., "Parallel random numbers: as easy as
    1, 2, 3", 2011).

    Raises:
        ConfigError: a seed outside 0 to 2**63 - 1.
    """
    if not 0 <= seed < SEED_LIMIT:
        raise ConfigError(f"seed {seed} is out of range; use a whole number from 0 to 2**63 - 1")

    def noise(block: int, step: int, shape: tuple[int, ...]) -> Tensor:
        generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, step, block]))
        return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))

    return noise
