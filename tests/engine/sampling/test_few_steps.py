"""Noise and few-step sampling against their definitions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sana_stream.engine.noise import counter_noise
from sana_stream.engine.sampling.samplers import sample_few_steps, solve
from sana_stream.engine.solvers import check_timesteps
from sana_stream.errors import ConfigError

SHAPE = (1, 4, 3, 8, 8)


def test_noise_depends_only_on_seed_block_and_step():
    places = [(seed, block, step) for seed in (0, 1) for block in (0, 1, 10**9) for step in (0, 1)]
    draws = {place: counter_noise(place[0])(*place[1:], SHAPE) for place in places}
    for place in reversed(places):  # drawn again in another order
        assert torch.equal(counter_noise(place[0])(*place[1:], SHAPE), draws[place])
    values = list(draws.values())
    for i, one in enumerate(values):
        for other in values[i + 1 :]:
            assert (
                abs(float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]))
                < 0.15
            )


def test_noise_is_standard_normal():
    draw = torch.cat([counter_noise(7)(block, 0, SHAPE).flatten() for block in range(50)])
    assert abs(float(draw.mean())) < 0.02
    assert abs(float(draw.std()) - 1) < 0.02
    assert draw.dtype == torch.float32


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seed_out_of_range_is_refused(seed: int):
    with pytest.raises(ConfigError, match=f"seed {seed} is out of range"):
        counter_noise(seed)


@given(target=st.floats(-3, 3), steps=st.lists(st.integers(1, 999), max_size=5, unique=True))
def test_exact_velocity_gives_the_target(target: float, steps: list[int]):
    """With `v = (x - x0) / sigma` every step predicts x0 exactly."""
    timesteps = check_timesteps([1000, *sorted(steps, reverse=True)])
    goal = torch.full(SHAPE, target, dtype=torch.float64)
    noise = counter_noise(0)
    result = solve(
        sample_few_steps(lambda i: noise(0, i, SHAPE).double(), timesteps),
        lambda x, t: (x - goal) * 1000 / t,
    )
    torch.testing.assert_close(result, goal, rtol=1e-6, atol=1e-6)


def test_each_step_adds_fresh_noise_at_its_level():
    """The model's inputs are `(1 - sigma) x0 + sigma noise_i`, with the last estimate x0."""
    seen: list[tuple[float, torch.Tensor]] = []

    def velocity(x: torch.Tensor, timestep: float) -> torch.Tensor:
        seen.append((timestep, x))
        return 0.3 * x

    noise = [counter_noise(1)(0, i, SHAPE) for i in range(4)]
    timesteps = (1000.0, 960.0, 889.0, 727.0)
    result = solve(sample_few_steps(lambda i: noise[i], timesteps), velocity)
    x = x0 = noise[0]
    for i, (timestep, given_x) in enumerate(seen):
        torch.testing.assert_close(given_x, x)
        x0 = x - timestep / 1000 * 0.3 * x
        if i + 1 < len(timesteps):
            sigma = timesteps[i + 1] / 1000
            x = (1 - sigma) * x0 + sigma * noise[i + 1]
    torch.testing.assert_close(result, x0)


@pytest.mark.parametrize("steps", [(), (0,), (1001,), (900, 900), (500, 600), (1000, -5)], ids=str)
def test_invalid_timesteps_are_refused(steps: tuple[float, ...]):
    with pytest.raises(ConfigError, match="descending, from at most 1000"):
        check_timesteps(steps)
