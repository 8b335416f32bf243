"""Names of the solvers and the timesteps that they take: needed before any network is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from sana_stream._arguments import ARGUMENTS
from sana_stream.errors import ConfigError

# each is implemented in `sampling/samplers.py`
SOLVERS = (
    "renoise",
    "euler",
    "dpm++",
    "unipc",
    "unipc1",
    "unipc3",
    "unipc-bh1",
    "unipc1-bh1",
    "unipc3-bh1",
)
OFFERED_SOLVERS = SOLVERS[:4]  # in messages; the others only come from scheduler files
TIMESTEP_SCALE = 1000  # a timestep is this times the noise level


def check_timesteps(timesteps: Sequence[float]) -> tuple[float, ...]:
    """Check that timesteps descend from at most 1000 to more than 0.

    Returns:
        The timesteps as `float`.

    Raises:
        ConfigError: none given, out of range, or not descending.
    """
    wanted = "a list of numbers, such as (1000, 960, 889, 727)"
    given = ARGUMENTS.items("timesteps", timesteps, wanted, TIMESTEP_SCALE)
    values = tuple(ARGUMENTS.number("timesteps", value) for value in given)
    falling = all(a > b for a, b in pairwise(values))
    if not values or not falling or values[0] > TIMESTEP_SCALE or values[-1] <= 0:
        raise ConfigError(
            f"timesteps {', '.join(f'{v:g}' for v in values[:8]) or 'none'}: give one or more,"
            " descending, from at most 1000 to more than 0, such as 1000,960,889,727"
        )
    return values
