"""Models of the family and its neighbours are refused by their name, in files and folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sana_stream.engine.loading.inspect import inspect_model
from sana_stream.errors import SanaStreamError
from sana_stream.models.known_models import (
    KNOWN_MODELS,
    SUPPORTED_CLASSES,
    known_by_class,
    known_by_tensors,
)
from sana_stream.models.registry import build_transformer
from sana_stream.models.weights.load import read_transformer
from sana_stream.models.weights.original_layout import to_original

# Names and ranks as the authors' code and diffusers have them.
TENSORS: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "SANA-Streaming": {
        "x_embedder.proj.weight": (2, 256, 1, 1, 1),
        "blocks.0.attn.q.weight": (2, 2),
    },
    "SANA-WM": {
        "x_embedder.proj.weight": (2, 2, 1, 1, 1),
        "raymap_embedder.proj.weight": (2, 3, 1, 1, 1),
        "blocks.0.attn.A_log": (2,),
    },
    "SANA": {"x_embedder.proj.weight": (2, 2, 1, 1), "blocks.0.attn.qkv.weight": (6, 2)},
    "SANA-Sprint": {"x_embedder.proj.weight": (2, 2, 1, 1), "cfg_embedder.mlp.0.weight": (2, 2)},
    "Wan": {
        "patch_embedding.weight": (2, 2, 1, 2, 2),
        "condition_embedder.time_embedder.linear_1.weight": (2, 2),
    },
    "LTX-Video": {"proj_in.weight": (2, 2), "transformer_blocks.0.attn1.to_q.weight": (2, 2)},
    "LTX-2": {"proj_in.weight": (2, 2), "audio_proj_in.weight": (2, 2)},
    "a LoRA file": {"transformer_blocks.0.attn1.to_q.lora_A.weight": (2, 2)},
    "a VAE": {"decoder.conv1.weight": (2, 2, 3, 3, 3)},
    "a language model": {"model.embed_tokens.weight": (2, 2)},
}
CLASSES = {
    "SanaWMTransformer3DModel": "SANA-WM",
    "SanaWMPipeline": "SANA-WM",
    "SanaTransformer2DModel": "SANA",
    "SanaPipeline": "SANA",
    "SanaSprintPipeline": "SANA-Sprint",
    "SanaControlNetModel": "SANA",
    "WanTransformer3DModel": "Wan",
    "WanPipeline": "Wan",
    "LTXVideoTransformer3DModel": "LTX-Video",
    "LTX2VideoTransformer3DModel": "LTX-2",
    "HunyuanVideoTransformer3DModel": "HunyuanVideo",
    "CogVideoXTransformer3DModel": "CogVideoX",
    "FluxTransformer2DModel": "FLUX",
}


def said(name: str) -> str:
    """What the message calls a model: its name is not the beginning of another's."""
    return f" is {name} ("


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", TENSORS)
def test_file_is_refused_by_its_models_name(tmp_path: Path, name: str, suffix: str):
    path = tmp_path / f"model{suffix}"
    tensors = {key: torch.zeros(shape) for key, shape in TENSORS[name].items()}
    if suffix == ".pth":
        torch.save({"state_dict": tensors}, path)
    else:
        save_file(tensors, path)
    with pytest.raises(SanaStreamError) as refused:
        inspect_model(path)
    message = str(refused.value)
    assert said(name) in message
    assert "supported are SANA-Video 2B" in message or "give " in message


def with_json(folder: Path, file: str, values: dict[str, Any]) -> None:
    known = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(known | values))


@pytest.mark.parametrize("kind", CLASSES)
def test_folder_is_refused_by_its_models_name(tiny_folder: Path, tmp_path: Path, kind: str):
    folder = tmp_path / "m"
    shutil.copytree(tiny_folder, folder)
    with_json(folder, "transformer/config.json", {"_class_name": kind})
    with pytest.raises(SanaStreamError) as refused:
        inspect_model(folder)
    assert said(CLASSES[kind]) in str(refused.value)
    assert "supported are SANA-Video 2B" in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("SanaPipeline", "is SANA (text to image)"),
        ("StableDiffusionPipeline", "'StableDiffusionPipeline', a model of another kind"),
    ],
)
def test_folder_without_transformer_is_refused_by_its_pipeline(
    tiny_folder: Path, tmp_path: Path, kind: str, said: str
):
    folder = tmp_path / "m"
    shutil.copytree(tiny_folder, folder, ignore=shutil.ignore_patterns("transformer"))
    with_json(folder, "model_index.json", {"_class_name": kind})
    with pytest.raises(SanaStreamError) as refused:
        inspect_model(folder)
    assert said in str(refused.value)


def test_more_input_channels_than_output_channels_are_refused(tiny_folder: Path, tmp_path: Path):
    folder = tmp_path / "m"
    shutil.copytree(tiny_folder, folder)
    with_json(folder, "transformer/config.json", {"in_channels": 8})
    with pytest.raises(SanaStreamError, match="in_channels 8 and out_channels 4 differ"):
        inspect_model(folder)


@pytest.mark.parametrize("name", SUPPORTED_CLASSES)
def test_supported_classes_are_not_in_the_table(name: str):
    assert known_by_class(name) is None
    assert known_by_class("SanaVideoPipeline") is None


def test_weights_of_supported_models_are_not_in_the_table(tiny_folder: Path):
    config, tensors = read_transformer(tiny_folder)
    with torch.device("meta"):
        network = build_transformer(config)
    for named in (network.state_dict(), tensors, to_original(tensors)):
        assert known_by_tensors({key: tuple(value.shape) for key, value in named.items()}) is None


def test_table_agrees_with_the_classes_of_diffusers():
    """Tensors of diffusers' own networks, without memory."""
    diffusers = pytest.importorskip("diffusers")
    small = {"num_layers": 1}
    cases = {
        "SanaTransformer2DModel": small,
        "SanaWMTransformer3DModel": small,
        "WanTransformer3DModel": small,
        "LTXVideoTransformer3DModel": small,
        "SanaVideoTransformer3DModel": small,
    }
    for kind, sizes in cases.items():
        with torch.device("meta"):
            network = getattr(diffusers, kind)(**sizes)
        shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        found = known_by_tensors(shapes)
        wanted = CLASSES.get(kind)
        assert (found.name if found else None) == wanted, kind


def test_every_entry_is_tested():
    tested = {*TENSORS, *CLASSES.values()}
    assert {known.name for known in KNOWN_MODELS} == tested
