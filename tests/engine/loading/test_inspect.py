"""Inspection of a checkpoint without loading its weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.inspect import estimate_memory, find_licence, inspect_model
from sana_stream.errors import CheckpointError, ConfigError
from sana_stream.models.weights.load import read_transformer
from sana_stream.models.weights.original_layout import to_original


def counted(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parts_are_counted_without_loading(tiny_folder: Path, tiny_engine: Engine):
    info = inspect_model(tiny_folder)
    assert [(part.name, part.kind) for part in info.parts] == [
        ("transformer", "SanaVideoTransformer3DModel"),
        ("vae", "AutoencoderKLWan"),
        ("text_encoder", "Gemma2Model"),
    ]
    networks = (tiny_engine.transformer, tiny_engine.vae, tiny_engine.text_encoder.network)
    for part, network in zip(info.parts, networks, strict=True):
        assert part.weights.parameters == counted(network)
        assert part.weights.dtypes == ("float32",)
        assert part.weights.file_bytes > 4 * part.weights.parameters
    assert info.problems == ()
    assert info.size_multiple == (16, 16)


def test_memory_estimate_equals_a_session(tiny_folder: Path, tiny_engine: Engine):
    expected = estimate_memory(inspect_model(tiny_folder), "cpu", "float32")
    assert expected is not None
    session = tiny_engine.session("a red boat")
    next(session)
    stats = next(session).stats
    memory = expected.memory
    assert memory.transformer == 4 * counted(tiny_engine.transformer)
    pending = session.snapshot().uncommitted
    assert pending is not None
    assert memory.kept == stats.state_bytes - pending.nbytes
    assert memory.peak == memory.floor + memory.text_encoder
    assert memory.floor > memory.transformer + memory.vae + memory.kept
    assert (expected.height, expected.width, expected.decode_frames) == (32, 48, 3)


def test_larger_frames_need_more_memory(tiny_folder: Path):
    info = inspect_model(tiny_folder)
    small, large = (estimate_memory(info, "cpu", "float32", 32 * n, 48 * n) for n in (1, 4))
    assert small is not None
    assert large is not None
    assert large.memory.decode > 10 * small.memory.decode
    with pytest.raises(ConfigError, match="the nearest is 48x32"):
        estimate_memory(info, "cpu", "float32", 33, 48)


def test_missing_part_is_reported_as_problem(tiny_folder: Path, tmp_path: Path):
    folder = tmp_path / "m"
    shutil.copytree(tiny_folder, folder)
    shutil.rmtree(folder / "tokenizer")
    (folder / "vae/diffusion_pytorch_model.safetensors").unlink()
    info = inspect_model(folder)
    assert len(info.problems) == 2
    assert "diffusion_pytorch_model.safetensors is missing" in info.problems[0]
    assert "has no tokenizer/" in info.problems[1]
    assert estimate_memory(info, "cpu") is None


def test_unsupported_vae_is_reported_as_problem(tiny_folder: Path, tmp_path: Path):
    folder = tmp_path / "m"
    shutil.copytree(tiny_folder, folder)
    (folder / "vae/config.json").write_text(json.dumps({"_class_name": "AutoencoderDC"}))
    assert "AutoencoderDC" in inspect_model(folder).problems[0]


def test_original_file_is_described(tiny_folder: Path, tmp_path: Path):
    _, tensors = read_transformer(tiny_folder)
    path = tmp_path / "X_LongLive.pth"
    torch.save({"state_dict": to_original(tensors)}, path)
    shutil.copy(tiny_folder / "transformer/config.json", tmp_path)
    info = inspect_model(path, parts=tiny_folder)
    assert (info.preset.name, info.parts[0].kind) == ("LongSANA 2B 480p", "original layout")
    assert info.trained_seconds == pytest.approx((1 + 260 * 4) / 16)
    assert info.problems == ()
    alone = inspect_model(path)
    assert "give parts, a folder" in alone.problems[0]


def test_truncated_transformer_is_refused(tiny_folder: Path, tmp_path: Path):
    folder = tmp_path / "m"
    shutil.copytree(tiny_folder, folder)
    weights = folder / "transformer/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        inspect_model(folder)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"LICENSE.txt": "words"}, "LICENSE.txt"),
        ({"README.md": "---\nlicense: mit\n---\ntext"}, "mit"),
        (
            {"README.md": "---\nlicense: other\nlicense_name: nvidia-open\n---\n", "LICENSE": ""},
            "nvidia-open, LICENSE",
        ),
        ({"README.md": "license: mit"}, None),
    ],
)
def test_licence_is_found(tmp_path: Path, files: dict[str, str], expected: str | None):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert find_licence(tmp_path) == expected
