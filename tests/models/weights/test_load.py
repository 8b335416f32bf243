"""Loading of model folders: damaged ones are refused with a one-line message."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sana_stream.engine.engine import Engine
from sana_stream.errors import CheckpointError, ConfigError, SanaStreamError

WEIGHTS = Path("transformer/diffusion_pytorch_model.safetensors")


def truncate(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])


def change_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS)

    return damage


def change_config(part: str, **values: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / part / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return damage


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no index": (lambda f: (f / "model_index.json").unlink(), "has no model_index.json"),
    "no transformer": (
        lambda f: shutil.rmtree(f / "transformer"),
        r"transformer.config.json is miss",
    ),
    "no vae weights": (
        lambda f: (f / "vae/diffusion_pytorch_model.safetensors").unlink(),
        "diffusion_pytorch_model.safetensors is missing",
    ),
    "no tokenizer": (lambda f: shutil.rmtree(f / "tokenizer"), "has no tokenizer/"),
    "no text encoder": (lambda f: shutil.rmtree(f / "text_encoder"), "has no text_encoder/"),
    "truncated": (truncate, "not a complete safetensors file"),
    "missing key": (change_tensors(lambda t: t.pop("proj_out.bias")), "lacks proj_out.bias"),
    "unknown key": (
        change_tensors(lambda t: t.update(surprise=torch.zeros(1))),
        "has unknown surprise",
    ),
    "wrong shape": (
        change_tensors(lambda t: t.update({"proj_out.bias": torch.zeros(3)})),
        r"proj_out.bias has shape \(3,\), the configuration asks for \(16,\)",
    ),
    "unknown setting": (
        change_config("transformer", num_layer=3),
        "did the file mean 'num_layers'",
    ),
    "unknown norm": (change_config("transformer", qk_norm="layer"), "only 'rms_norm_across_heads'"),
    "residual vae": (change_config("vae", is_residual=True), "is_residual"),
    "broken json": (lambda f: (f / "vae/config.json").write_text("{"), "cannot be read"),
    "unknown preset": (lambda f: (f / "stream.json").write_text('{"speed": 1}'), "keys speed"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_load_damaged_folder_raises(tiny_folder: Path, tmp_path: Path, name: str):
    damage, message = DAMAGES[name]
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    damage(folder)
    with pytest.raises(SanaStreamError, match=message) as caught:
        Engine.load(folder, device="cpu", dtype="float32")
    assert isinstance(caught.value, CheckpointError | ConfigError)
    assert "\n" not in str(caught.value)


def test_load_sharded_weights_equals_single_file(tiny_folder: Path, tmp_path: Path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    tensors = load_file(folder / WEIGHTS)
    names = sorted(tensors)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, held in shards.items():
        save_file({name: tensors[name] for name in held}, folder / "transformer" / file)
    (folder / WEIGHTS).unlink()
    index = {"weight_map": {name: file for file, held in shards.items() for name in held}}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    loaded = Engine.load(folder, device="cpu", dtype="float32").transformer.state_dict()
    assert all(torch.equal(loaded[name], tensors[name]) for name in names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "no/such/folder"}, "model 'no/such/folder' is not known; use 'pocket'"),
        ({"device": "cuda"}, 'no CUDA device is available here; use device="cpu"'),
        ({"device": "abacus"}, "device 'abacus' is not known"),
        ({"dtype": "int3"}, "dtype int3 is not known; use auto, bfloat16"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_load_with_unknown_argument_raises(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], message: str
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings: dict[str, Any] = {"model": tiny_folder} | arguments
    with pytest.raises(ConfigError, match=message):
        Engine.load(**settings)
