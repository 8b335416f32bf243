"""Locating a model: folders, single files and the hub's cache, without network access."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file, save_file

from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.locate import (
    PUBLISHED_PARTS,
    HubModel,
    resolve_components,
    resolve_model,
)
from sana_stream.errors import CheckpointError, ConfigError
from sana_stream.models.weights.load import read_transformer
from sana_stream.models.weights.original_layout import to_original

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty huggingface_hub cache without network access."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def put_into_cache(cache: Path, repo: str, folder: Path, revision: str = "main") -> None:
    """Write files in the layout of the huggingface_hub cache."""
    place = cache / f"models--{repo.replace('/', '--')}"
    shutil.copytree(folder, place / "snapshots" / COMMIT)
    (place / "refs").mkdir(parents=True)
    (place / "refs" / revision).write_text(COMMIT)


def same_latents(one: Engine, other: Engine) -> bool:
    blocks = [next(e.session("a red boat", height=32, width=48)) for e in (one, other)]
    return torch.equal(blocks[0].latents, blocks[1].latents)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("owner/name", HubModel("owner/name")),
        ("owner/name@v1.0", HubModel("owner/name", "", "v1.0")),
        ("hf://a/b/checkpoints/x_2B.pth", HubModel("a/b", "checkpoints/x_2B.pth")),
        ("a/b/x.pth@abc", HubModel("a/b", "x.pth", "abc")),
        ("pocket", None),
        ("./a/b", None),
        ("/a/b", None),
        ("a/b/c", None),
        ("a b/c", None),
    ],
)
def test_hub_ids_are_recognised(text: str, expected: HubModel | None):
    assert HubModel.parse(text) == expected


def test_cached_model_is_loaded_by_its_id(cache: Path, tiny_folder: Path, tiny_engine: Engine):
    put_into_cache(cache, "someone/tiny", tiny_folder)
    assert same_latents(Engine.load("someone/tiny", "cpu", "float32"), tiny_engine)


def test_revisions_are_separate(cache: Path, tiny_folder: Path):
    put_into_cache(cache, "someone/tiny", tiny_folder, revision="v2")
    assert resolve_model("someone/tiny@v2").name == COMMIT
    with pytest.raises(ConfigError, match="not in the cache, and HF_HUB_OFFLINE is set"):
        resolve_model("someone/tiny")


def test_unreachable_hub_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The hub's address is one where no server listens."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="not in the cache, and the hub cannot be reached"):
        resolve_model("someone/nothing")


def test_single_file_on_the_hub_is_loaded(cache: Path, tmp_path: Path):
    (tmp_path / "repo/checkpoints").mkdir(parents=True)
    torch.save({"x": torch.zeros(1)}, tmp_path / "repo/checkpoints/m.pth")
    put_into_cache(cache, "someone/orig", tmp_path / "repo")
    assert resolve_model("someone/orig/checkpoints/m.pth").name == "m.pth"


def test_original_file_takes_parts_from_another_folder(
    cache: Path, tmp_path: Path, tiny_folder: Path, tiny_engine: Engine
):
    put_into_cache(cache, "someone/parts", tiny_folder)
    _, tensors = read_transformer(tiny_folder)
    torch.save({"state_dict": to_original(tensors)}, tmp_path / "m.pth")
    shutil.copy(tiny_folder / "transformer/config.json", tmp_path)
    for parts in (tiny_folder, "someone/parts"):
        engine = Engine.load(tmp_path / "m.pth", "cpu", "float32", parts=parts)
        assert engine.preset.name == "SANA-Video 2B 480p"
        for part in ("transformer", "vae"):
            mine, other = (getattr(e, part).state_dict() for e in (engine, tiny_engine))
            assert all(torch.equal(mine[name], other[name]) for name in other)
        assert torch.equal(
            *(e.encode_negative_prompt("red")[1][:, :12] for e in (engine, tiny_engine))
        )
    with pytest.raises(ConfigError, match="4 latent channels; give parts, a folder"):
        resolve_components(tmp_path / "m.pth", None)


def test_published_file_takes_the_published_parts(cache: Path, tmp_path: Path, tiny_folder: Path):
    put_into_cache(cache, PUBLISHED_PARTS[16], tiny_folder)
    (tmp_path / "config.json").write_text(json.dumps({"in_channels": 16}))
    save_file({"patch_embedding.weight": torch.zeros(1)}, tmp_path / "m.safetensors")
    assert resolve_components(tmp_path / "m.safetensors", None).name == COMMIT


def shard(part: Path, tensors: Any) -> None:
    save_torch_state_dict(
        tensors,
        part,
        filename_pattern="diffusion_pytorch_model{suffix}.safetensors",
        max_shard_size="40KB",
    )
    assert len(list(part.glob("*.safetensors"))) > 2


def shard_a_variant(part: Path, tensors: Any) -> None:
    shard(part, tensors)
    index = part / "diffusion_pytorch_model.safetensors.index.json"
    index.rename(part / "diffusion_pytorch_model.safetensors.index.fp16.json")


LAYOUTS: dict[str, Any] = {
    "shards": shard,
    "shards-of-a-variant": shard_a_variant,
    "variant": lambda part, t: save_file(t, part / "diffusion_pytorch_model.fp16.safetensors"),
    "bin": lambda part, t: torch.save(t, part / "diffusion_pytorch_model.bin"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_weights_is_read(tmp_path: Path, tiny_folder: Path, layout: str):
    shutil.copytree(tiny_folder / "transformer", tmp_path / "transformer")
    tensors = load_file(tmp_path / WEIGHTS)
    (tmp_path / WEIGHTS).unlink()
    LAYOUTS[layout](tmp_path / "transformer", tensors)
    _, found = read_transformer(tmp_path)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_missing_shard_is_named(tmp_path: Path, tiny_folder: Path):
    shutil.copytree(tiny_folder / "transformer", tmp_path / "transformer")
    tensors = load_file(tmp_path / WEIGHTS)
    (tmp_path / WEIGHTS).unlink()
    shard(tmp_path / "transformer", tensors)
    gone = sorted((tmp_path / "transformer").glob("*.safetensors"))[1]
    gone.unlink()
    with pytest.raises(CheckpointError, match=f"{gone.name} is missing"):
        read_transformer(tmp_path)


def test_other_files_are_refused(tmp_path: Path):
    (tmp_path / "model.ckpt").write_text("x")
    with pytest.raises(CheckpointError, match=r"give \.pth, \.pt or \.safetensors"):
        resolve_model(tmp_path / "model.ckpt")


@pytest.mark.parametrize(
    "text",
    ["weights/model.pth", "weights/Model.SAFETENSORS", "a/../b", "owner/näme", "a/" + "b" * 200,
     "own\ner/name", "owner/name/../x.pth", "owner/name@../../x", "-x/y", "x" * 10_000],
)  # fmt: skip
def test_invalid_ids_are_not_looked_up_on_the_hub(monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.setattr("sana_stream.engine.loading.locate.HubModel.fetch", pytest.fail)
    with pytest.raises(ConfigError, match=r"is not known|is not a path") as caught:
        resolve_model(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_mistyped_path_is_not_looked_up_on_the_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path, tiny_folder: Path
):
    put_into_cache(cache, "models/tiny", tiny_folder)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    with pytest.raises(ConfigError, match=r"models is a folder here; .*hf://models/tiny"):
        resolve_model("models/tiny")
    assert resolve_model("hf://models/tiny").name == COMMIT


@pytest.mark.parametrize("name", ["model.ckpt", "model.pth", "model.safetensors", "model.bin"])
def test_unsupported_format_is_named(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(CheckpointError, match="is a GGUF file"):
        resolve_model(tmp_path / name)
