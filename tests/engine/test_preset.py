"""Which preset a checkpoint gets, from what it says itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sana_stream.engine.instructions import IMAGE_INSTRUCTION, VIDEO_INSTRUCTION
from sana_stream.engine.plan import BlockPlan
from sana_stream.engine.preset import LONGSANA, SANA_480P, SANA_720P, preset_of
from sana_stream.models.errors import CheckpointError

DPM = {"_class_name": "DPMSolverMultistepScheduler", "flow_shift": 8.0}


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
def test_the_checkpoint_itself_decides(
    tmp_path: Path, transformer: dict[str, Any], scheduler: dict[str, Any], expected: Any
):
    assert preset_of(folder(tmp_path / "renamed", transformer, scheduler), "renamed") == expected


def test_the_scheduler_gives_solver_and_shift(tmp_path: Path):
    scheduler = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
    preset = preset_of(folder(tmp_path / "x", model(30), scheduler), "x")
    assert (preset.solver, preset.flow_shift, preset.steps) == ("euler", 3.0, 50)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("SANA_Video_2B_480p_LongLive.pth", LONGSANA),
        ("SANA_Video_2B_480p.pth", SANA_480P),
        ("SANA_Video_2B_720p.pth", SANA_720P),
        ("latest.pth", SANA_480P),
    ],
)
def test_a_file_is_known_by_its_name(tmp_path: Path, file: str, expected: Any):
    assert preset_of(tmp_path / file, str(tmp_path / file)) == expected


def test_an_unknown_checkpoint_gets_plain_defaults(tmp_path: Path):
    preset = preset_of(folder(tmp_path / "mine", model(7), {}), "mine")
    assert (preset.name, preset.memory, preset.block_frames) == ("mine", "cumulative", 10)


def test_a_stream_file_wins_and_its_keys_are_checked(tmp_path: Path):
    place = folder(tmp_path / "longlive", model(30), DPM)
    (place / "stream.json").write_text('{"name": "own", "steps": 2, "timesteps": []}')
    preset = preset_of(place, "longlive")
    assert (preset.name, preset.steps, preset.timesteps) == ("own", 2, ())
    (place / "stream.json").write_text('{"stepps": 2}')
    with pytest.raises(CheckpointError, match="unknown keys stepps"):
        preset_of(place, "longlive")


def test_a_block_of_the_50_step_models_is_their_whole_clip():
    assert BlockPlan(SANA_480P.block_frames, 4).block(0).frames == 81
    assert BlockPlan(SANA_720P.block_frames, 8).block(0).frames == 81
    assert SANA_480P.instruction == VIDEO_INSTRUCTION
    assert LONGSANA.instruction == IMAGE_INSTRUCTION
