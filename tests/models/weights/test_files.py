"""Choice of a model's weights files, and invalid values in them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.inspect import inspect_model
from sana_stream.errors import CheckpointError
from sana_stream.models.weights.load import read_transformer

STEM = "diffusion_pytorch_model"
PARTS = {
    "transformer": f"{STEM}.safetensors",
    "vae": f"{STEM}.safetensors",
    "text_encoder": "model.safetensors",
}


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "m"
    shutil.copytree(tiny_folder, copy)
    return copy


@pytest.mark.parametrize(
    "name",
    ["../x.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", ".", "C:\\x", "a\\b", "\0"],
)
@pytest.mark.parametrize("part", ["transformer", "text_encoder"])
def test_index_naming_a_file_elsewhere_raises(folder: Path, part: str, name: str):
    weights = folder / part / PARTS[part]
    shutil.copy(weights, folder / "x.safetensors")
    weights.unlink()
    index = {"weight_map": {"a": name}}
    weights.with_name(f"{weights.name}.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="not a file in its folder"):
        Engine.load(folder, "cpu", "float32")


@pytest.mark.parametrize(
    "values",
    [{}, {"weight_map": []}, {"weight_map": {"a": 1}}, {"weight_map": {"a": None}}, [], None],
    ids=str,
)
def test_index_without_weight_map_raises(folder: Path, values: object):
    weights = folder / "transformer" / PARTS["transformer"]
    weights.unlink()
    weights.with_name(f"{weights.name}.index.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"index\.json"):
        read_transformer(folder)


def test_sharded_bin_weights_are_read(folder: Path):
    weights = folder / "transformer" / PARTS["transformer"]
    tensors = load_file(weights)
    weights.unlink()
    names = sorted(tensors)
    table: dict[str, str] = {}
    for number, held in enumerate((names[::2], names[1::2])):
        file = f"{STEM}-{number}.bin"
        torch.save({name: tensors[name] for name in held}, folder / "transformer" / file)
        table |= dict.fromkeys(held, file)
    index = folder / "transformer" / f"{STEM}.bin.index.json"
    index.write_text(json.dumps({"weight_map": table}))
    _, read = read_transformer(folder)
    assert all(torch.equal(read[name], tensors[name]) for name in names)


def change(folder: Path, part: str, value: torch.Tensor | None) -> str:
    """Set a value inside a component's last tensor, or convert the tensor to int8 (`None`)."""
    file = folder / part / PARTS[part]
    tensors = load_file(file)
    name = max(name for name in tensors if tensors[name].ndim > 1)
    if value is None:
        tensors[name] = tensors[name].to(torch.int8)
    else:
        tensors[name].view(-1)[tensors[name].numel() // 2] = value
    save_file(tensors, file, metadata={"format": "pt"})
    return name


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_load_non_finite_weights_raises(folder: Path, part: str, value: float):
    name = change(folder, part, torch.tensor(value))
    with pytest.raises(CheckpointError, match="holds NaN or infinity") as caught:
        Engine.load(folder, "cpu", "float32")
    assert name.removeprefix("model.") in str(caught.value)


def test_load_weights_overflowing_float16_names_dtype(folder: Path):
    change(folder, "transformer", torch.tensor(1e6))
    with pytest.raises(CheckpointError, match=r"in float16; .* give another dtype"):
        Engine.load(folder, "cpu", "float16")


@pytest.mark.parametrize("part", PARTS)
def test_load_integer_weights_raises(folder: Path, part: str):
    change(folder, part, None)
    with pytest.raises(CheckpointError, match="is of type int8"):
        Engine.load(folder, "cpu", "float32")


def test_load_text_encoder_with_missing_weight_raises(folder: Path):
    file = folder / "text_encoder/model.safetensors"
    tensors = load_file(file)
    del tensors["norm.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks norm\.weight"):
        Engine.load(folder, "cpu", "float32")


def test_inspect_reports_text_encoder_of_another_size(folder: Path):
    file = folder / "text_encoder/config.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {"hidden_size": 48}))
    assert "the parts are not of one model" in "; ".join(inspect_model(folder).problems)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.model._orig_mod.", "model."])
def test_load_text_encoder_and_vae_with_wrapped_names(
    folder: Path, tiny_engine: Engine, prefix: str
):
    for part in ("text_encoder", "vae"):
        file = folder / part / PARTS[part]
        held = {prefix + name: tensor for name, tensor in load_file(file).items()}
        save_file(held, file, metadata={"format": "pt"})
    engine = Engine.load(folder, "cpu", "float32")
    blocks = [next(e.session("a red boat")).frames for e in (engine, tiny_engine)]
    assert (blocks[0] == blocks[1]).all()
