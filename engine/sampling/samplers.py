"""Solvers of the flow ODE for one block, as generators that ask for the model's velocity.

`velocity = yield x, timestep` is a call of the model, made by the caller of the generator.

`sigma` is the noise level: `x = (1 - sigma) x0 + sigma noise`, and the model's velocity is
`noise - x0`. It is `t / 1000` unless levels are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from torch import Tensor

HIGHEST = 1 - 1e-6  # noise level; at 1 lambda, `log((1 - sigma) / sigma)`, would be infinite


Solution = Generator[tuple[Tensor, float], Tensor, Tensor]
"""Yields noisy latents and a timestep, 0 to 1000; is sent `noise - x0`, float32; returns x0."""

Velocity = Callable[[Tensor, float], Tensor]
"""`(noisy latents, timestep 0 to 1000) -> noise - x0`, float32."""

Noise = Callable[[int], Tensor]
"""The noise of a step, float32; a block starts from that of step 0."""


def sample_few_steps(
    noise: Noise,
    timesteps: Sequence[float],
    sigmas: Sequence[float] | None = None,
) -> Solution:
    """Sample a distilled model: predict x0, add fresh noise at the next level, repeat.

    `x0 = x - sigma v(x, t)`, then `x = (1 - sigma') x0 + sigma' noise` (the sampler of
    Self-Forcing and LongSANA).

    Args:
        noise: fresh noise for every step.
        timesteps: descending, e.g. (1000, 960, 889, 727).
        sigmas: the noise level of each timestep; default: `t / 1000`.

    Returns:
        x0, the clean latents, as the value of the generator.
    """
    levels = [timestep / 1000 for timestep in timesteps] if sigmas is None else sigmas
    x0 = x = noise(0)
    for step, (timestep, sigma) in enumerate(zip(timesteps, levels, strict=True)):
        if step:
            x = (1 - sigma) * x0 + sigma * noise(step)
        velocity = yield x, timestep
        x0 = x - sigma * velocity
    return x0


def sample_euler(noise: Noise, timesteps: Sequence[float]) -> Solution:
    """Follow the velocity in straight steps, as diffusers' FlowMatchEulerDiscreteScheduler.

    Arguments and result as for `sample_few_steps`; only `noise(0)` is used.
    """
    x = noise(0)
    for timestep, after in zip(timesteps, (*timesteps[1:], 0.0), strict=True):
        velocity = yield x, timestep
        x = x + (after - timestep) / 1000 * velocity
    return x


def sample_dpm(noise: Noise, timesteps: Sequence[float]) -> Solution:
    """DPM-Solver++ of second order, multistep, midpoint (Lu et al., arXiv 2211.01095).

    As diffusers' DPMSolverMultistepScheduler with flow sigmas: the first and the last step are of
    first order, and the model is called at whole timesteps, rounded down. Arguments and result as
    for `sample_few_steps`; only `noise(0)` is used.
    """
    x, before, span_before = noise(0), None, 0.0
    for timestep, after in zip(timesteps, (*timesteps[1:], 0.0), strict=True):
        sigma, sigma_after = timestep / 1000, after / 1000
        velocity = yield x, float(int(timestep))
        x0 = x - sigma * velocity
        span = _log_snr(sigma_after) - _log_snr(sigma)
        goal = x0
        if before is not None and sigma_after > 0:
            goal = x0 + 0.5 * (span / span_before) * (x0 - before)
        x = sigma_after / sigma * x - (1 - sigma_after) * math.expm1(-span) * goal
        before, span_before = x0, span
    return x


class ModelOutput(NamedTuple):
    """The model's prediction of x0 at a noise level."""

    sigma: float
    x0: Tensor


def sample_unipc(
    noise: Noise,
    timesteps: Sequence[float],
    order: int = 2,
    variant: str = "bh2",
) -> Solution:
    """Sample by UniPC; the first and the last steps are of lower order.

    Each step is predicted from the steps before and corrected by the model's output there (Zhao et
    al., arXiv 2302.04867, in the B(h) form, predicting x0), as in diffusers'
    UniPCMultistepScheduler with flow sigmas.

    Arguments and result as for `sample_few_steps`; only `noise(0)` is used, and the model is called
    at whole timesteps, rounded down.

    Args:
        order: of the predictor, 1 to 3; the corrector adds one.
        variant: "bh2", or "bh1", which suits few steps without guidance.
    """
    # in float32 as in diffusers: near sigma 1 the rounding changes lambda
    levels = [float(np.float32(min(timestep / 1000, HIGHEST))) for timestep in timesteps]
    x = corrected = noise(0)
    known: list[ModelOutput] = []
    used = 0
    for step, (timestep, sigma) in enumerate(zip(timesteps, levels, strict=True)):
        velocity = yield x, float(int(timestep))
        here = ModelOutput(sigma, x - sigma * velocity)
        if known:
            x = _moved(corrected, known[:used], sigma, variant, here)
        corrected, known = x, [here, *known[: order - 1]]
        used = min(order, len(levels) - step, step + 1)
        after = levels[step + 1] if step + 1 < len(levels) else 0.0
        x = _moved(corrected, known[:used], after, variant)
    return x


def _moved(
    x: Tensor,
    known: Sequence[ModelOutput],
    sigma: float,
    variant: str,
    ahead: ModelOutput | None = None,
) -> Tensor:
    """`x` moved from the newest known level to `sigma`; `ahead` is the output there, if known."""
    base, *older = known
    h = _log_snr(sigma) - _log_snr(base.sigma)
    moved = sigma / base.sigma * x - (1 - sigma) * math.expm1(-h) * base.x0
    others = [*older, *([] if ahead is None else [ahead])]
    if not others:
        return moved
    places = [(_log_snr(other.sigma) - _log_snr(base.sigma)) / h for other in others]
    scale = -h if variant == "bh1" else math.expm1(-h)
    for place, weight, other in zip(places, _weights(places, -h, scale), others, strict=True):
        moved = moved - (1 - sigma) * scale * weight / place * (other.x0 - base.x0)
    return moved


def _weights(places: Sequence[float], h: float, scale: float) -> list[float]:
    """The weight of each difference: `sum_i w_i place_i^k = k-th phi function / B(h)` (eq. 11)."""
    if len(places) == 1:
        return [0.5]
    wanted, phi, factorial = [], math.expm1(h) / h - 1, 1
    for k in range(1, len(places) + 1):
        wanted.append(phi * factorial / scale)
        factorial *= k + 1
        phi = phi / h - 1 / factorial
    powers = np.vander(places, increasing=True).T
    return [float(weight) for weight in np.linalg.solve(powers, wanted)]


def _log_snr(sigma: float) -> float:
    """`log((1 - sigma) / sigma)`, infinite at both ends."""
    if sigma <= 0:
        return math.inf
    return -math.inf if sigma >= 1 else math.log((1 - sigma) / sigma)


def solve(solution: Solution, velocity: Velocity) -> Tensor:
    """Drive a solver by a function; returns the clean latents."""
    try:
        asked = next(solution)
        while True:
            asked = solution.send(velocity(*asked))
    except StopIteration as end:
        return end.value


SAMPLERS: Mapping[str, Callable[[Noise, Sequence[float]], Solution]] = {
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
"""By the name of a solver; `unipc` is of second order in the form B2(h)."""
