"""Converting layouts: what comes out loads here and in diffusers, and is the same model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import SanaVideoPipeline

from sana_stream.engine.convert import convert_model
from sana_stream.engine.engine import Engine
from sana_stream.models.errors import ConfigError
from sana_stream.models.original import to_original
from sana_stream.models.transformer_file import read_transformer


@pytest.fixture
def original(tmp_path: Path, tiny_folder: Path) -> Path:
    """The tiny model's transformer in the original layout."""
    place = tmp_path / "original"
    place.mkdir()
    _, tensors = read_transformer(tiny_folder)
    torch.save({"state_dict": to_original(tensors)}, place / "SANA_LongLive.pth")
    shutil.copy(tiny_folder / "transformer/config.json", place)
    return place / "SANA_LongLive.pth"


def same_tensors(one: Path, other: Path) -> bool:
    (config, mine), (other_config, theirs) = read_transformer(one), read_transformer(other)
    assert config == other_config
    return mine.keys() == theirs.keys() and all(torch.equal(mine[n], theirs[n]) for n in mine)


def test_an_original_file_becomes_a_folder_that_diffusers_loads(
    original: Path, tiny_folder: Path, tmp_path: Path
):
    out = tmp_path / "converted"
    convert_model(original, out, parts=tiny_folder)
    assert same_tensors(out, tiny_folder)
    engine = Engine.load(out, "cpu", "float32")
    assert engine.preset.name == "LongSANA 2B 480p"  # what its file's name said before
    pipeline: Any = SanaVideoPipeline.from_pretrained(out)
    reference: Any = SanaVideoPipeline.from_pretrained(tiny_folder)
    for part in ("transformer", "vae", "text_encoder"):
        mine, theirs = (getattr(p, part).state_dict() for p in (pipeline, reference))
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_a_folder_becomes_an_original_file_and_comes_back(tiny_folder: Path, tmp_path: Path):
    convert_model(tiny_folder, tmp_path / "m.pth")
    shutil.copy(tiny_folder / "transformer/config.json", tmp_path)
    assert same_tensors(tmp_path / "m.pth", tiny_folder)
    held = torch.load(tmp_path / "m.pth", weights_only=True)["state_dict"]
    assert "blocks.1.attn.qkv.weight" in held


def test_a_folder_keeps_its_own_preset_and_takes_another_dtype(tiny_folder: Path, tmp_path: Path):
    convert_model(tiny_folder, tmp_path / "half", dtype="bfloat16")
    _, tensors = read_transformer(tmp_path / "half")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    stream = json.loads((tmp_path / "half/stream.json").read_text())
    assert (stream["name"], stream["block_frames"]) == ("tiny", 2)


def test_nothing_is_written_over_and_nothing_half_stays(tiny_folder: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="exists; give a name that is free"):
        convert_model(tiny_folder, tmp_path)
    with pytest.raises(ConfigError, match="dtype int4 is not known"):
        convert_model(tiny_folder, tmp_path / "x", dtype="int4")
    left_behind = tmp_path / "y.part"
    (left_behind / "transformer").mkdir(parents=True)  # of a run that was killed
    convert_model(tiny_folder, tmp_path / "y")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["y"]
