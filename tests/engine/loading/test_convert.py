"""Conversion between layouts: the result loads here and in diffusers, with equal weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import SanaVideoPipeline

from sana_stream._files import partial_path
from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.convert import convert_model
from sana_stream.errors import CheckpointError, ConfigError
from sana_stream.models.weights.load import read_transformer
from sana_stream.models.weights.original_layout import to_original


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


def test_converted_folder_is_loaded_by_diffusers(original: Path, tiny_folder: Path, tmp_path: Path):
    out = tmp_path / "converted"
    convert_model(original, out, parts=tiny_folder)
    assert same_tensors(out, tiny_folder)
    engine = Engine.load(out, "cpu", "float32")
    assert engine.preset.name == "LongSANA 2B 480p"  # from the name of the original file
    pipeline: Any = SanaVideoPipeline.from_pretrained(out)
    reference: Any = SanaVideoPipeline.from_pretrained(tiny_folder)
    for part in ("transformer", "vae", "text_encoder"):
        mine, theirs = (getattr(p, part).state_dict() for p in (pipeline, reference))
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_folder_to_original_file_and_back(tiny_folder: Path, tmp_path: Path):
    convert_model(tiny_folder, tmp_path / "m.pth")
    shutil.copy(tiny_folder / "transformer/config.json", tmp_path)
    assert same_tensors(tmp_path / "m.pth", tiny_folder)
    held = torch.load(tmp_path / "m.pth", weights_only=True)["state_dict"]
    assert "blocks.1.attn.qkv.weight" in held


def test_converted_folder_keeps_preset_and_changes_dtype(tiny_folder: Path, tmp_path: Path):
    convert_model(tiny_folder, tmp_path / "half", dtype="bfloat16")
    _, tensors = read_transformer(tmp_path / "half")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    stream = json.loads((tmp_path / "half/stream.json").read_text())
    assert (stream["name"], stream["block_frames"]) == ("tiny", 2)


def test_existing_files_are_kept_and_partial_ones_removed(tiny_folder: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="exists; give a name that is free"):
        convert_model(tiny_folder, tmp_path)
    with pytest.raises(ConfigError, match="dtype int4 is not known"):
        convert_model(tiny_folder, tmp_path / "x", dtype="int4")
    left_behind = partial_path(tmp_path / "y")
    (left_behind / "transformer").mkdir(parents=True)  # of a run that was killed
    convert_model(tiny_folder, tmp_path / "y")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["y"]


def tree(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("kind", ["file", "folder", "link to nothing", "foreign part"])
@pytest.mark.parametrize("name", ["out", "out.pth"])
def test_foreign_files_are_not_overwritten(tiny_folder: Path, tmp_path: Path, kind: str, name: str):
    place = tmp_path / "place"
    place.mkdir()
    if kind == "file":
        (place / name).write_text("mine")
    elif kind == "folder":
        (place / name).mkdir()
        (place / name / "notes").write_text("mine")
    elif kind == "link to nothing":
        (place / name).symlink_to(place / "elsewhere")
    else:
        partial_path(place / name).mkdir()
        (partial_path(place / name) / "notes").write_text("mine")
    before = tree(place)
    with pytest.raises(ConfigError, match="exists"):
        convert_model(tiny_folder, place / name)
    assert tree(place) == before


@pytest.mark.parametrize("name", ["out", "out.pth"])
def test_failed_conversion_leaves_no_files(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    def full(*args: Any, **more: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.save_torch_state_dict", full)
    monkeypatch.setattr("torch.save", full)
    (tmp_path / "place").mkdir()
    with pytest.raises(OSError, match="No space left"):
        convert_model(tiny_folder, tmp_path / "place" / name)
    assert list((tmp_path / "place").iterdir()) == []


def test_conversion_into_its_source_is_refused(tiny_folder: Path, tmp_path: Path):
    folder = tmp_path / "m"
    shutil.copytree(tiny_folder, folder)
    (tmp_path / "link").symlink_to(folder)
    for target in (folder / "out", folder / "vae" / "out.pth", tmp_path / "link" / "out"):
        with pytest.raises(ConfigError, match="lies in"):
            convert_model(folder, target)
    assert tree(folder) == tree(tiny_folder)


def test_only_links_to_model_files_are_copied(tiny_folder: Path, tmp_path: Path):
    folder = tmp_path / "m"
    shutil.copytree(tiny_folder, folder)
    (tmp_path / "secret").write_text("key")
    (folder / "vae/id_rsa").symlink_to(tmp_path / "secret")
    convert_model(folder, tmp_path / "out")
    assert "vae/id_rsa" not in tree(tmp_path / "out")
    (folder / "scheduler/endless.json").symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match="not a regular file"):
        convert_model(folder, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    assert not partial_path(tmp_path / "other").exists()


def test_unknown_file_suffix_is_refused(tiny_folder: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"give a name that ends in \.pth"):
        convert_model(tiny_folder, tmp_path / "m.safetensors")


def test_written_files_have_default_permissions(tiny_folder: Path, tmp_path: Path):
    (tmp_path / "plain").touch()
    plain = (tmp_path / "plain").stat().st_mode
    convert_model(tiny_folder, tmp_path / "out")
    convert_model(tiny_folder, tmp_path / "out.pth")
    made = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert {file.stat().st_mode for file in (*made, tmp_path / "out.pth")} == {plain}
