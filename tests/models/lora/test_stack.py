"""Merged LoRA files of every layout equal peft's merge, and their removal is exact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import SanaVideoPipeline, SanaVideoTransformer3DModel
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from sana_stream.engine.engine import Engine
from sana_stream.errors import CheckpointError

TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "conv_inverted", "conv_temp", "proj_out"]


@pytest.fixture
def engine(tiny_folder: Path) -> Engine:
    """An engine that only this module uses, as its weights change."""
    return Engine.load(tiny_folder, "cpu", "float32")


def adapted(folder: Path, seed: int = 0, **settings: Any) -> Any:
    """Create the reference transformer with a random peft adapter."""
    model: Any = SanaVideoTransformer3DModel.from_pretrained(folder / "transformer")
    model.add_adapter(LoraConfig(target_modules=TARGETS, **settings))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return model


def save(model: Any, folder: Path, **more: Any) -> Path:
    """Save the adapter in the diffusers layout."""
    layers: Any = get_peft_model_state_dict(model)
    SanaVideoPipeline.save_lora_weights(folder, layers, **more)
    return folder / more.get("weight_name", "pytorch_lora_weights.safetensors")


def merged(model: Any, scale: float = 1.0) -> dict[str, torch.Tensor]:
    model.fuse_lora(lora_scale=scale)
    model.unload_lora()
    return dict(model.named_parameters())


def assert_same(engine: Engine, expected: dict[str, torch.Tensor]) -> None:
    for name, weight in engine.transformer.named_parameters():
        torch.testing.assert_close(weight.data, expected[name].data, rtol=1e-5, atol=1e-6)


def changed(engine: Engine, before: dict[str, torch.Tensor]) -> set[str]:
    now = engine.transformer.named_parameters()
    return {name for name, weight in now if not torch.equal(weight, before[name])}


def weights(engine: Engine) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in engine.transformer.named_parameters()}


@pytest.mark.parametrize("scale", [1.0, 0.35, -1.0])
@pytest.mark.parametrize("settings", [{"r": 4}, {"r": 4, "lora_alpha": 4}], ids=str)
def test_diffusers_file_merges_as_in_peft(
    engine: Engine, tiny_folder: Path, tmp_path: Path, settings: dict[str, int], scale: float
):
    model = adapted(tiny_folder, **{"lora_alpha": 4} | settings)
    before = weights(engine)
    engine.set_loras([(save(model, tmp_path), scale)])
    assert_same(engine, merged(model, scale))
    assert any("conv_temp" in name for name in changed(engine, before))


@pytest.mark.parametrize(
    "settings",
    [
        {"r": 4, "lora_alpha": 12},
        {"r": 4, "lora_alpha": 8, "use_rslora": True},
        {"r": 4, "lora_alpha": 8, "rank_pattern": {"to_q": 2}, "alpha_pattern": {"to_k": 3}},
    ],
    ids=["alpha", "rslora", "patterns"],
)
def test_alpha_is_read_from_metadata(
    engine: Engine, tiny_folder: Path, tmp_path: Path, settings: dict[str, Any]
):
    model = adapted(tiny_folder, **settings)
    metadata = model.peft_config["default"].to_dict()
    file = save(model, tmp_path, transformer_lora_adapter_metadata=metadata)
    engine.set_loras([(file, 1.0)])
    assert_same(engine, merged(model))


def test_peft_folder_merges_as_in_peft(engine: Engine, tiny_folder: Path, tmp_path: Path):
    base: Any = SanaVideoTransformer3DModel.from_pretrained(tiny_folder / "transformer")
    model: Any = get_peft_model(base, LoraConfig(r=3, lora_alpha=9, target_modules=TARGETS))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(tmp_path)
    engine.set_loras([(tmp_path, 0.5)])
    for _, module in model.named_modules():
        if hasattr(module, "scaling"):
            module.set_scale("default", 0.5)
    assert_same(engine, dict(model.merge_and_unload().named_parameters()))


def test_alpha_tensor_and_older_names_are_read(engine: Engine, tmp_path: Path):
    A, B = torch.randn(2, 28), torch.randn(28, 2)
    save_file(
        {
            "transformer.transformer_blocks.0.attn1.to_q.lora.down.weight": A,
            "transformer.transformer_blocks.0.attn1.to_q.lora.up.weight": B,
            "transformer.transformer_blocks.0.attn1.to_q.alpha": torch.tensor(6.0),
        },
        tmp_path / "old.safetensors",
    )
    name = "transformer_blocks.0.attn1.to_q.weight"
    before = weights(engine)
    engine.set_loras([(tmp_path / "old.safetensors", 0.5)])
    after = weights(engine)
    torch.testing.assert_close(after[name], before[name] + 0.5 * 3 * B @ A)
    assert changed(engine, before) == {name}


def test_several_loras_add_up_and_are_removed_exactly(
    engine: Engine, tiny_folder: Path, tmp_path: Path
):
    before = weights(engine)
    block = next(engine.session("a red boat")).latents
    one, two = (
        save(
            adapted(tiny_folder, seed, r=2, lora_alpha=2),
            tmp_path,
            weight_name=f"{seed}.safetensors",
        )
        for seed in (1, 2)
    )

    engine.set_loras([(one, 0.5)])
    alone = weights(engine)
    assert not torch.equal(next(engine.session("a red boat")).latents, block)
    engine.set_loras([(one, 0.5), (two, 2.0)])
    both = weights(engine)
    engine.set_loras([(two, 2.0)])
    other = weights(engine)
    for name, weight in before.items():
        torch.testing.assert_close(both[name] - weight, alone[name] + other[name] - 2 * weight)
    engine.set_loras([(one, 0.5)])
    assert changed(engine, alone) == set()
    engine.set_loras([])
    assert changed(engine, before) == set()
    assert torch.equal(next(engine.session("a red boat")).latents, block)


def test_lora_removal_is_exact_in_bfloat16(tiny_folder: Path, tmp_path: Path):
    engine = Engine.load(tiny_folder, "cpu", "bfloat16")
    before = weights(engine)
    model = adapted(tiny_folder, r=2, lora_alpha=2)
    engine.set_loras([(save(model, tmp_path), 30.0)])
    assert changed(engine, before)
    engine.set_loras([])
    assert changed(engine, before) == set()


def test_resume_with_another_lora_raises(engine: Engine, tiny_folder: Path, tmp_path: Path):
    """A saved stream cannot be resumed with other weights."""
    session = engine.session("a red boat")
    next(session)
    session.save(tmp_path / "s.safetensors")
    model = adapted(tiny_folder, r=2, lora_alpha=2)
    engine.set_loras([(save(model, tmp_path), 1.0)])
    with pytest.raises(Exception, match="another model"):
        engine.resume(tmp_path / "s.safetensors")
    engine.set_loras([])
    next(engine.resume(tmp_path / "s.safetensors"))


def pair(module: str, *shapes: tuple[int, int]) -> dict[str, torch.Tensor]:
    """Create zero factors A and B of these shapes."""
    names = (f"transformer.{module}.lora_{factor}.weight" for factor in "AB")
    return {name: torch.zeros(shape) for name, shape in zip(names, shapes, strict=False)}


DAMAGES: dict[str, tuple[dict[str, torch.Tensor], str]] = {
    "unknown module": (
        pair("blocks.x", (2, 3), (3, 2)),
        r"changes blocks\.x, which this model does not have",
    ),
    "other model": (
        pair("proj_out", (2, 9), (16, 2)),
        r"proj_out is of shape \(16, 9\), this model's is \(16, 28\)",
    ),
    "half": (pair("proj_out", (2, 28)), "only one of A and B"),
    "dora": (
        {"transformer.proj_out.lora_magnitude_vector": torch.zeros(2)},
        "lora_magnitude_vector is not of a plain LoRA",
    ),
    "empty": ({}, "holds no LoRA"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_invalid_lora_raises_and_keeps_weights(engine: Engine, tmp_path: Path, name: str):
    held, message = DAMAGES[name]
    before = weights(engine)
    save_file(held, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=message):
        engine.set_loras([(tmp_path / "x.safetensors", 1.0)])
    assert changed(engine, before) == set()


def test_missing_or_truncated_lora_raises(engine: Engine, tiny_folder: Path, tmp_path: Path):
    with pytest.raises(CheckpointError, match="is missing"):
        engine.set_loras([(tmp_path / "none.safetensors", 1.0)])
    whole = (tiny_folder / "transformer/diffusion_pytorch_model.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:500])
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        engine.set_loras([(tmp_path / "cut.safetensors", 1.0)])
