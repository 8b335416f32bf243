"""Schedules and solvers against diffusers' schedulers, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from sana_stream.engine.loading.presets import LONGSANA, SANA_480P, Preset
from sana_stream.engine.sampling.samplers import SAMPLERS, sample_dpm, solve
from sana_stream.engine.sampling.schedule import flow_timesteps, resolve_timesteps
from sana_stream.engine.solvers import SOLVERS
from sana_stream.errors import ConfigError

SHAPE = (1, 2, 3, 4, 5)


UNIPC = {
    "unipc": (2, "bh2"),
    "unipc1": (1, "bh2"),
    "unipc3": (3, "bh2"),
    "unipc-bh1": (2, "bh1"),
    "unipc1-bh1": (1, "bh1"),
    "unipc3-bh1": (3, "bh1"),
}


def scheduler(solver: str, shift: float) -> Any:
    if solver == "euler":
        return FlowMatchEulerDiscreteScheduler(shift=shift)
    if solver in UNIPC:
        order, kind = UNIPC[solver]
        return UniPCMultistepScheduler(
            flow_shift=shift,
            use_flow_sigmas=True,
            prediction_type="flow_prediction",
            solver_order=order,
            solver_type=kind,  # type: ignore[arg-type]
        )
    return DPMSolverMultistepScheduler(
        flow_shift=shift, use_flow_sigmas=True, prediction_type="flow_prediction"
    )


def wobbly(x: torch.Tensor, timestep: float) -> torch.Tensor:
    """A velocity that depends on sample and noise level, as a model's does."""
    return torch.sin(3 * x) + timestep / 700 + 0.2 * x.roll(1, 2)


@given(
    solver=st.sampled_from(["euler", "dpm++", "unipc", "unipc3-bh1"]),
    steps=st.integers(1, 60),
    shift=st.floats(0.5, 12),
)
@settings(deadline=None, max_examples=60)
def test_noise_levels_equal_diffusers(solver: str, steps: int, shift: float):
    reference = scheduler(solver, shift)
    reference.set_timesteps(steps)
    timesteps = np.array(flow_timesteps(solver, steps, shift))
    np.testing.assert_allclose(timesteps / 1000, reference.sigmas[:-1].numpy(), rtol=2e-6)
    if solver != "euler":  # the model's timestep is an integer there
        np.testing.assert_array_equal(timesteps.astype(int), reference.timesteps.numpy())


@pytest.mark.parametrize("solver", ["euler", "dpm++", *UNIPC])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 14, 50])
def test_every_step_equals_diffusers(solver: str, steps: int):
    reference = scheduler(solver, 8.0)
    reference.set_timesteps(steps)
    start = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    expected, inputs = start, []
    for timestep in reference.timesteps:
        inputs.append((float(timestep), expected))
        velocity = wobbly(expected, float(timestep))
        expected = reference.step(velocity, timestep, expected, return_dict=False)[0]

    seen = []

    def velocity_and_note(x: torch.Tensor, timestep: float) -> torch.Tensor:
        seen.append((timestep, x))
        return wobbly(x, timestep)

    result = solve(
        SAMPLERS[solver](lambda i: start, flow_timesteps(solver, steps, 8)), velocity_and_note
    )
    for (time, x), (reference_time, reference_x) in zip(seen, inputs, strict=True):
        assert time == pytest.approx(reference_time, rel=2e-6)
        torch.testing.assert_close(x, reference_x, rtol=2e-5, atol=2e-5)
    if solver.endswith("bh1"):  # diffusers' own last step multiplies infinity by 0
        time, x = seen[-1]
        expected = x - flow_timesteps(solver, steps, 8)[-1] / 1000 * wobbly(x, time)
    torch.testing.assert_close(result, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("solver", ["euler", "dpm++", "unipc", "unipc3"])
def test_straight_path_is_followed_exactly(solver: str):
    """With `v = noise - x0` for one x0, every solver ends at x0."""
    goal, noise = torch.full(SHAPE, 0.7).double(), torch.full(SHAPE, -1.3).double()
    for timesteps in [(1000.0, 500.0), flow_timesteps(solver, 9, 3.0)]:
        start = (1 - timesteps[0] / 1000) * goal + timesteps[0] / 1000 * noise
        result = solve(SAMPLERS[solver](lambda i, x=start: x, timesteps), lambda x, t: noise - goal)
        error = 1e-5 if solver in UNIPC else 1e-7  # UniPC starts a millionth below pure noise
        torch.testing.assert_close(result, goal, rtol=error, atol=error)


def test_dpm_is_of_second_order():
    """Twice the steps give a quarter of the error, on a path with a known end."""

    def error(steps: int) -> float:
        timesteps = [1000 * (0.9 - 0.8 * i / steps) for i in range(steps + 1)]

        def velocity(x: torch.Tensor, t: float) -> torch.Tensor:
            return -x  # x' = -x over sigma

        ends = []
        solve(
            sample_dpm(lambda i: torch.ones(1).double(), timesteps),
            lambda x, t: (ends.append(x), velocity(x, t))[1],
        )
        return abs(float(ends[-1]) - float(np.exp(0.8)))

    assert error(80) / error(160) == pytest.approx(4, rel=0.25)


def test_longsana_timesteps_are_four_steps_at_shift_8():
    assert flow_timesteps("renoise", 4, 8.0) == LONGSANA.timesteps
    assert resolve_timesteps(LONGSANA, None, None, None, None) == ("renoise", LONGSANA.timesteps)
    assert resolve_timesteps(LONGSANA, None, 4, None, None) == ("renoise", LONGSANA.timesteps)
    assert resolve_timesteps(LONGSANA, None, 2, None, None) == ("renoise", (1000.0, 889.0))
    assert resolve_timesteps(LONGSANA, (900, 300), None, None, None)[1] == (900.0, 300.0)


def test_published_50_steps():
    solver, timesteps = resolve_timesteps(SANA_480P, None, None, None, None)
    assert (solver, len(timesteps)) == ("dpm++", 50)
    assert timesteps == flow_timesteps("dpm++", 50, 8.0)
    assert resolve_timesteps(SANA_480P, None, 20, "euler", 3.0) == (
        "euler",
        flow_timesteps("euler", 20, 3.0),
    )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"solver": "heun"}, r"solver 'heun' is not known; use renoise, euler, dpm\+\+, unipc"),
        ({"steps": 0}, "steps 0: give 1 to 1000"),
        ({"flow_shift": 0}, "flow_shift 0: give 0.001 to 1000"),
        ({"steps": 4, "timesteps": (1000,)}, "leave one of them out"),
        ({"timesteps": (5, 10)}, "descending"),
    ],
)
def test_invalid_schedules_are_refused(asked: dict[str, Any], message: str):
    given = {"timesteps": None, "steps": None, "solver": None, "flow_shift": None} | asked
    with pytest.raises(ConfigError, match=message):
        resolve_timesteps(Preset("any"), **given)


def test_every_named_solver_is_implemented():
    assert tuple(SAMPLERS) == SOLVERS
