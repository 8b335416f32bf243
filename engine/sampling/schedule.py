"""The timesteps of a block, from solver, steps and flow shift.

A timestep is 1000 times the noise level sigma; `t = 1000` is pure noise, `t = 0` a clean block.
LongSANA was distilled with levels that differ slightly: `nearest_sigmas`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sana_stream._arguments import ARGUMENTS, shown
from sana_stream.engine.loading.presets import Preset
from sana_stream.engine.solvers import OFFERED_SOLVERS, SOLVERS, TIMESTEP_SCALE, check_timesteps
from sana_stream.errors import ConfigError

from .samplers import HIGHEST

LEAST_SHIFT = 0.001  # below it, noise levels round to 0


def resolve_timesteps(
    preset: Preset,
    timesteps: Sequence[float] | None,
    steps: int | None,
    solver: str | None,
    flow_shift: float | None,
) -> tuple[str, tuple[float, ...]]:
    """Solver and timesteps of a stream: what is given, and the preset's for the rest.

    Raises:
        ConfigError: an unknown solver, steps or shift out of range, timesteps that do not descend,
            or timesteps together with steps or shift.
    """
    chosen = preset.solver if solver is None else ARGUMENTS.word("solver", solver)
    if chosen not in SOLVERS:
        raise ConfigError(f"solver {shown(chosen)} is not known; use {', '.join(OFFERED_SOLVERS)}")
    if timesteps is not None:
        if steps is not None or flow_shift is not None:
            raise ConfigError("timesteps and steps or flow_shift are given; leave one of them out")
        return chosen, check_timesteps(timesteps)
    if preset.timesteps and steps is None and solver is None and flow_shift is None:
        return chosen, check_timesteps(preset.timesteps)
    count = ARGUMENTS.whole("steps", preset.steps if steps is None else steps)
    shift = ARGUMENTS.number("flow_shift", preset.flow_shift if flow_shift is None else flow_shift)
    if not 1 <= count <= TIMESTEP_SCALE:
        raise ConfigError(f"steps {shown(count)}: give 1 to {TIMESTEP_SCALE}")
    if not LEAST_SHIFT <= shift <= TIMESTEP_SCALE:
        raise ConfigError(f"flow_shift {shift:g}: give {LEAST_SHIFT} to {TIMESTEP_SCALE}")
    planned = flow_timesteps(chosen, count, shift)
    if not all(0 < timestep <= TIMESTEP_SCALE for timestep in planned):
        raise ConfigError(
            f"flow_shift {shift:g} leaves the last of {count} steps without noise: give a larger"
            " flow_shift or fewer steps"
        )
    return chosen, planned


def default_image_solver(preset: Preset, solver: str | None) -> str | None:
    """The solver of a stream that starts from an image: Euler for models that are not distilled."""
    return "euler" if solver is None and preset.solver != "renoise" else solver


def flow_timesteps(solver: str, steps: int, shift: float) -> tuple[float, ...]:
    """Evenly spaced noise levels, shifted towards noise: `sigma' = s sigma / (1 + (s - 1) sigma)`.

    For "euler", "dpm++" and "unipc" these are the levels of diffusers'
    FlowMatchEulerDiscreteScheduler, DPMSolverMultistepScheduler and UniPCMultistepScheduler with
    flow sigmas, which differ in their ends. For "renoise" they are whole numbers: 4 steps at
    shift 8 give LongSANA's 1000, 960, 889, 727.
    """
    if solver.startswith("unipc"):
        sigmas = _shifted(np.linspace(1, 1 / TIMESTEP_SCALE, steps + 1)[:-1], shift)
        return tuple(float(sigma) * TIMESTEP_SCALE for sigma in np.minimum(sigmas, HIGHEST))
    if solver == "dpm++":
        sigmas = 1.0 - np.linspace(1, 1 / TIMESTEP_SCALE, steps + 1)
        return tuple(map(float, np.flip(_shifted(sigmas, shift))[:-1] * TIMESTEP_SCALE))
    if solver == "euler":
        sigmas = np.linspace(1.0, _shifted(np.float64(1 / TIMESTEP_SCALE), shift), steps)
        return tuple(map(float, _shifted(sigmas, shift) * TIMESTEP_SCALE))
    sigmas = np.linspace(1.0, 0.0, steps + 1)[:-1]
    return tuple(map(float, np.round(_shifted(sigmas, shift) * TIMESTEP_SCALE)))


def nearest_sigmas(timesteps: Sequence[float], shift: float) -> tuple[float, ...]:
    """The noise level of each timestep: the nearest of 1000 shifted levels.

    With shift 7 they are 1, 0.959957, 0.889153 and 0.727410 for LongSANA's timesteps, as in its
    training; computed in float32 as there.
    """
    levels = torch.linspace(1, 0, TIMESTEP_SCALE + 1)[:-1]
    levels = shift * levels / (1 + (shift - 1) * levels)
    wanted = torch.tensor(timesteps, dtype=torch.float64)[:, None]
    nearest = ((levels * TIMESTEP_SCALE).double() - wanted).abs().argmin(dim=1)
    return tuple(levels[nearest].tolist())


def _shifted(sigma: np.ndarray | np.float64, shift: float) -> np.ndarray:
    return np.asarray(shift * sigma / (1 + (shift - 1) * sigma))
