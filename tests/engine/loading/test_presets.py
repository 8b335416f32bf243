"""The preset of a checkpoint, derived from its own configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)

from sana_stream.engine.block import BlockPlan
from sana_stream.engine.loading.conventions import AUTHORS_50_STEPS
from sana_stream.engine.loading.presets import LONGSANA, SANA_480P, SANA_720P, preset_for
from sana_stream.engine.sampling.samplers import SAMPLERS
from sana_stream.errors import CheckpointError

FLOW: dict[str, Any] = {
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "flow_shift": 8.0,
}
SHIFTED: dict[str, Any] = FLOW | {"flow_shift": 5.0}
DPM = {"_class_name": "DPMSolverMultistepScheduler", **FLOW}
UNIPC = {"_class_name": "UniPCMultistepScheduler", **FLOW}


def folder(place: Path, transformer: dict[str, Any], scheduler: dict[str, Any]) -> Path:
    for part, name, values in [
        ("transformer", "config.json", transformer),
        ("scheduler", "scheduler_config.json", scheduler),
    ]:
        (place / part).mkdir(parents=True)
        (place / part / name).write_text(json.dumps(values))
    return place


def model(size: int, kind: str = "SanaVideoTransformer3DModel", **more: str) -> dict[str, Any]:
    return {"_class_name": kind, "sample_size": size} | more


@pytest.mark.parametrize(
    ("transformer", "scheduler", "expected"),
    [
        (model(30), DPM, SANA_480P),
        (model(22), DPM, SANA_720P),
        (model(30, "SanaVideoCausalTransformer3DModel"), DPM, LONGSANA),
        (model(30, _name_or_path="somewhere/SANA-Video_2B_480p_LongLive_x"), DPM, LONGSANA),
    ],
    ids=["480p", "720p", "by-class", "by-name-inside"],
)
def test_checkpoint_determines_its_preset(
    tmp_path: Path, transformer: dict[str, Any], scheduler: dict[str, Any], expected: Any
):
    assert preset_for(folder(tmp_path / "renamed", transformer, scheduler), "renamed") == expected


def test_scheduler_determines_solver_and_shift(tmp_path: Path):
    scheduler = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
    preset = preset_for(folder(tmp_path / "x", model(30), scheduler), "x")
    assert (preset.solver, preset.flow_shift, preset.steps) == ("euler", 3.0, 50)


@pytest.mark.parametrize(
    ("scheduler", "solver"),
    [
        (FlowMatchEulerDiscreteScheduler(shift=5.0), "euler"),
        (DPMSolverMultistepScheduler(**SHIFTED), "dpm++"),
        (UniPCMultistepScheduler(**SHIFTED), "unipc"),
        (
            UniPCMultistepScheduler(**SHIFTED, solver_order=3, solver_type="bh1"),
            "unipc3-bh1",
        ),
    ],
    ids=["euler", "dpm", "unipc", "unipc-third-order"],
)
def test_schedulers_of_diffusers_are_supported(tmp_path: Path, scheduler: Any, solver: str):
    """The three schedulers that diffusers' own conversion of SANA-Video can write."""
    place = folder(tmp_path / "x", model(30), {})
    scheduler.save_pretrained(place / "scheduler")
    preset = preset_for(place, "x")
    assert (preset.solver, preset.flow_shift, preset.steps) == (solver, 5.0, 50)
    assert preset.solver in SAMPLERS


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ({"_class_name": "HeunDiscreteScheduler"}, "of the class HeunDiscreteScheduler; FlowMatch"),
        ({}, "of the class unknown"),
        (DPM | {"prediction_type": "epsilon"}, "prediction_type epsilon, and only flow_prediction"),
        (DPM | {"use_flow_sigmas": False}, "use_flow_sigmas False, and only True"),
        (DPM | {"algorithm_type": "sde-dpmsolver++"}, "algorithm_type sde-dpmsolver"),
        (DPM | {"solver_order": 3}, "solver_order 3, and only 2"),
        (DPM | {"solver_type": "heun"}, "solver_type heun, and only midpoint"),
        (DPM | {"use_karras_sigmas": True}, "use_karras_sigmas True"),
        (DPM | {"final_sigmas_type": "sigma_min"}, "final_sigmas_type sigma_min"),
        (DPM | {"num_train_timesteps": 500}, "num_train_timesteps 500"),
        (DPM | {"use_something_new": True}, "use_something_new True, which is not known"),
        (UNIPC | {"solver_order": 4}, "solver_order 4, and only 1 or 2 or 3"),
        (UNIPC | {"disable_corrector": [0]}, "disable_corrector"),
        (UNIPC | {"lower_order_final": False}, "lower_order_final False"),
        (
            {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True},
            "use_dynamic_shifting True",
        ),
        (
            {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift_terminal": 0.1},
            "shift_terminal 0.1",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unsupported_scheduler_options_are_named(
    tmp_path: Path, scheduler: dict[str, Any], message: str
):
    with pytest.raises(CheckpointError, match=message):
        preset_for(folder(tmp_path / "x", model(30), scheduler), "x")


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("SANA_Video_2B_480p_LongLive.pth", LONGSANA),
        ("SANA_Video_2B_480p.pth", SANA_480P.under(AUTHORS_50_STEPS)),
        ("SANA_Video_2B_720p.pth", SANA_720P.under(AUTHORS_50_STEPS)),
        ("latest.pth", SANA_480P.under(AUTHORS_50_STEPS)),
    ],
)
def test_published_file_is_recognised_by_its_name(tmp_path: Path, file: str, expected: Any):
    torch.save({"state_dict": {"x_embedder.proj.weight": torch.zeros(1)}}, tmp_path / file)
    assert preset_for(tmp_path / file, str(tmp_path / file)) == expected


def test_unknown_checkpoint_gets_defaults(tmp_path: Path):
    preset = preset_for(folder(tmp_path / "mine", model(7), {}), "mine")
    assert (preset.name, preset.memory, preset.block_frames) == ("mine", "cumulative", 10)


def test_stream_json_takes_precedence_and_is_checked(tmp_path: Path):
    place = folder(tmp_path / "longlive", model(30), DPM)
    (place / "stream.json").write_text('{"name": "own", "steps": 2, "timesteps": []}')
    preset = preset_for(place, "longlive")
    assert (preset.name, preset.steps, preset.timesteps) == ("own", 2, ())
    (place / "stream.json").write_text('{"stepps": 2}')
    with pytest.raises(CheckpointError, match="unknown keys stepps"):
        preset_for(place, "longlive")


def test_block_of_50_step_models_is_a_complete_clip():
    assert BlockPlan(SANA_480P.block_frames, 4).block(0).frames == 81
    assert BlockPlan(SANA_720P.block_frames, 8).block(0).frames == 81
