"""Sampling of one block: from noise to clean latents, as pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor

from ..models.errors import ConfigError

Velocity = Callable[[Tensor, float], Tensor]
"""`(noisy latents, timestep 0 to 1000) -> noise - x0`, float32."""


def sample_few_steps(
    velocity: Velocity, noise: Callable[[int], Tensor], timesteps: Sequence[float]
) -> Tensor:
    """Sample a distilled model: predict x0, add fresh noise at the next level, repeat.

    With `sigma = t / 1000`: `x0 = x - sigma v(x, t)`, then
    `x = (1 - sigma') x0 + sigma' noise` (the sampler of Self-Forcing and LongSANA).

    Args:
        velocity: the model.
        noise: the noise of step i, float32; `noise(0)` is where the block starts.
        timesteps: descending, e.g. (1000, 960, 889, 727).

    Returns:
        x0, the clean latents.
    """
    x0 = x = noise(0)
    for step, timestep in enumerate(timesteps):
        if step:
            sigma = timestep / 1000
            x = (1 - sigma) * x0 + sigma * noise(step)
        x0 = x - (timestep / 1000) * velocity(x, timestep)
    return x0


def check_timesteps(timesteps: Sequence[float]) -> tuple[float, ...]:
    """Timesteps as numbers, descending from at most 1000 to more than 0.

    Raises:
        ConfigError: none given, out of range, or not descending.
    """
    values = tuple(float(value) for value in timesteps)
    falling = all(a > b for a, b in pairwise(values))
    if not values or not falling or values[0] > 1000 or values[-1] <= 0:
        raise ConfigError(
            f"timesteps {', '.join(f'{v:g}' for v in values) or 'none'}: give one or more,"
            " descending, from at most 1000 to more than 0, such as 1000,960,889,727"
        )
    return values
