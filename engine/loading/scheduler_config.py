"""Reading `scheduler/scheduler_config.json`: options are supported, without effect, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from sana_stream._text import safe_text
from sana_stream.errors import CheckpointError
from sana_stream.models.schema import OpenSchema, check_values, is_idle
from sana_stream.models.weights.files import read_json

FILE = Path("scheduler", "scheduler_config.json")

# For each class the options that the steps of a flow model depend on, with diffusers' default and
# the supported values.
_FLOW = {
    "num_train_timesteps": (1000, (1000,)),
    "use_karras_sigmas": (False, (False,)),
    "use_exponential_sigmas": (False, (False,)),
    "use_beta_sigmas": (False, (False,)),
    "use_dynamic_shifting": (False, (False,)),
}
_MULTISTEP = _FLOW | {
    "prediction_type": ("epsilon", ("flow_prediction",)),
    "use_flow_sigmas": (False, (True,)),
    "thresholding": (False, (False,)),
    "final_sigmas_type": ("zero", ("zero",)),
}
_USED: Mapping[str, Mapping[str, tuple[Any, tuple[Any, ...]]]] = {
    "FlowMatchEulerDiscreteScheduler": _FLOW
    | {
        "invert_sigmas": (False, (False,)),
        "shift_terminal": (None, (None,)),
        "stochastic_sampling": (False, (False,)),
    },
    "DPMSolverMultistepScheduler": _MULTISTEP
    | {
        "algorithm_type": ("dpmsolver++", ("dpmsolver++",)),
        "solver_order": (2, (2,)),
        "solver_type": ("midpoint", ("midpoint",)),
        "use_lu_lambdas": (False, (False,)),
    },
    "UniPCMultistepScheduler": _MULTISTEP
    | {
        "solver_order": (2, (1, 2, 3)),
        "solver_type": ("bh2", ("bh2", "bh1", "midpoint", "heun", "logrho")),
        "lower_order_final": (True, (True,)),
        "predict_x0": (True, (True,)),
        "disable_corrector": ([], ([],)),
        "solver_p": (None, (None,)),
        "shift_terminal": (None, (None,)),
    },
}
# Options without effect on flow sigmas: noise schedules of other models, limits that are off.
_IDLE = frozenset(
    (
        *("beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr"),
        *("timestep_spacing", "steps_offset", "variance_type", "lambda_min_clipped"),
        *("dynamic_thresholding_ratio", "sample_max_value", "sigma_min", "sigma_max"),
        *("base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len", "time_shift_type"),
        *("lower_order_final", "euler_at_final", "shift", "flow_shift"),
    )
)


class _Fields(OpenSchema):
    """The values that are used from the file."""

    shift: Annotated[float, Field(gt=0, le=1000)] | None = None
    flow_shift: Annotated[float, Field(gt=0, le=1000)] | None = None
    solver_order: int | None = None
    solver_type: str | None = None


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """Solver and flow shift of a checkpoint."""

    solver: str  # one of `SOLVERS`
    flow_shift: float


def read_scheduler(model: Path) -> SchedulerSettings | None:
    """Read the scheduler of a folder in the diffusers layout; `None` where it has none.

    Raises:
        CheckpointError: a class or an option that is not supported.
    """
    values = read_scheduler_file(model)
    if values is None:
        return None
    path = model / FILE
    kind = values.get("_class_name", "")
    if not isinstance(kind, str) or kind not in _USED:
        raise CheckpointError(
            f"{safe_text(path)} is of the class {safe_text(kind or 'unknown', 80)};"
            f" {', '.join(_USED)} can be used,"
            " or a stream.json next to model_index.json with solver, steps and flow_shift"
        )
    _check(path, kind, values)
    numbers = check_values(_Fields, values, path, CheckpointError)
    if kind == "FlowMatchEulerDiscreteScheduler":
        return SchedulerSettings("euler", float(numbers.get("shift") or 1.0))
    shift = float(numbers.get("flow_shift") or 1.0)
    if kind == "DPMSolverMultistepScheduler":
        return SchedulerSettings("dpm++", shift)
    order = numbers.get("solver_order", 2)
    # diffusers treats all other types as bh2
    form = "-bh1" if numbers.get("solver_type") == "bh1" else ""
    return SchedulerSettings(f"unipc{'' if order == 2 else order}{form}", shift)


def read_scheduler_file(model: Path) -> dict[str, Any] | None:
    """Read the file as JSON; `None` where there is none.

    Raises:
        CheckpointError: it is damaged, even where nothing of it is needed.
    """
    path = model / FILE
    if not path.exists() and not path.is_symlink():
        return None
    return read_json(path, constants=True)  # lambda_min_clipped is -Infinity


def _check(path: Path, kind: str, values: Mapping[str, Any]) -> None:
    for name, (default, allowed) in _USED[kind].items():
        given = values.get(name, default)
        if not any(given == value and type(given) is type(value) for value in allowed):
            wanted = " or ".join(str(value) for value in allowed)
            raise CheckpointError(
                f"{safe_text(path)} has {name} {safe_text(given, 60)}, and only {wanted} can be"
                f" used with {kind}"
            )
    known = _USED[kind].keys() | _IDLE
    for name, given in values.items():
        if not name.startswith("_") and name not in known and not is_idle(given):
            raise CheckpointError(
                f"{safe_text(path)} has {safe_text(name, 80)} {safe_text(given, 60)}, which is not"
                " known here"
            )
