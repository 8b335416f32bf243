"""Sampling of one block: from noise to clean latents, as pure functions.

`sigma = t / 1000` is the noise level: `x = (1 - sigma) x0 + sigma noise`, and the model's velocity
is `noise - x0`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch import Tensor

from .unipc import sample_unipc

Velocity = Callable[[Tensor, float], Tensor]
"""`(noisy latents, timestep 0 to 1000) -> noise - x0`, float32."""

Noise = Callable[[int], Tensor]
"""The noise of a step, float32; that of step 0 is where a block starts."""


def sample_few_steps(velocity: Velocity, noise: Noise, timesteps: Sequence[float]) -> Tensor:
    """Sample a distilled model: predict x0, add fresh noise at the next level, repeat.

    `x0 = x - sigma v(x, t)`, then `x = (1 - sigma') x0 + sigma' noise` (the sampler of
    Self-Forcing and LongSANA).

    Args:
        velocity: the model.
        noise: fresh noise for every step.
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


def sample_euler(velocity: Velocity, noise: Noise, timesteps: Sequence[float]) -> Tensor:
    """Follow the velocity in straight steps, as diffusers' FlowMatchEulerDiscreteScheduler.

    Arguments and result as for `sample_few_steps`; only `noise(0)` is used.
    """
    x = noise(0)
    for timestep, after in zip(timesteps, (*timesteps[1:], 0.0), strict=True):
        x = x + (after - timestep) / 1000 * velocity(x, timestep)
    return x


def sample_dpm(velocity: Velocity, noise: Noise, timesteps: Sequence[float]) -> Tensor:
    """DPM-Solver++ of second order, multistep, midpoint (Lu et al., arXiv 2211.01095).

    As diffusers' DPMSolverMultistepScheduler with flow sigmas: the first and the last step are of
    first order, and the model is asked at whole timesteps, rounded down. Arguments and result as
    for `sample_few_steps`; only `noise(0)` is used.
    """
    x, before, span_before = noise(0), None, 0.0
    for timestep, after in zip(timesteps, (*timesteps[1:], 0.0), strict=True):
        sigma, sigma_after = timestep / 1000, after / 1000
        x0 = x - sigma * velocity(x, float(int(timestep)))
        span = _log_snr(sigma_after) - _log_snr(sigma)
        goal = x0
        if before is not None and sigma_after > 0:
            goal = x0 + 0.5 * (span / span_before) * (x0 - before)
        x = sigma_after / sigma * x - (1 - sigma_after) * math.expm1(-span) * goal
        before, span_before = x0, span
    return x


def _log_snr(sigma: float) -> float:
    """`log((1 - sigma) / sigma)`, infinite at both ends."""
    if sigma <= 0:
        return math.inf
    return -math.inf if sigma >= 1 else math.log((1 - sigma) / sigma)


SAMPLERS: Mapping[str, Callable[[Velocity, Noise, Sequence[float]], Tensor]] = {
    "renoise": sample_few_steps,
    "euler": sample_euler,
    "dpm++": sample_dpm,
    "unipc": sample_unipc,
    "unipc1": partial(sample_unipc, order=1),
    "unipc3": partial(sample_unipc, order=3),
    "unipc-bh1": partial(sample_unipc, variant="bh1"),
    "unipc1-bh1": partial(sample_unipc, order=1, variant="bh1"),
    "unipc3-bh1": partial(sample_unipc, order=3, variant="bh1"),
}
"""By the name of a solver; `unipc` is of second order and of the form B2(h)."""
