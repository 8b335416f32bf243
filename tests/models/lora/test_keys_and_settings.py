"""LoRA files of other tools: key names, alpha, and unsupported kinds."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from sana_stream.engine.engine import Engine
from sana_stream.errors import CheckpointError, ConfigError
from sana_stream.models.config import TransformerConfig
from sana_stream.models.lora.settings import alpha_of, read_settings
from sana_stream.models.lora.stack import LoraStack, fit_lora, read_lora
from sana_stream.models.transformer import SanaVideoTransformer
from sana_stream.models.weights.load import read_transformer

MODULE = "transformer_blocks.1.attn1.to_q"
FLAT = "transformer_blocks_1_attn1_to_q"
JOINED = "blocks.1.attn.qkv"


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> SanaVideoTransformer:
    config, tensors = read_transformer(tiny_folder)
    assert isinstance(config, TransformerConfig)
    network = SanaVideoTransformer(config)
    network.load_state_dict(tensors)
    return network.requires_grad_(False)


A, B = torch.randn(2, 28), torch.randn(28, 2)
NAMES = {
    "diffusers": (f"transformer.{MODULE}.lora_A.weight", f"transformer.{MODULE}.lora_B.weight"),
    "peft": (
        f"base_model.model.{MODULE}.lora_A.default.weight",
        f"base_model.model.{MODULE}.lora_B.default.weight",
    ),
    "another adapter": (f"{MODULE}.lora_A.style.weight", f"{MODULE}.lora_B.style.weight"),
    "comfy": (f"diffusion_model.{MODULE}.lora_A.weight", f"diffusion_model.{MODULE}.lora_B.weight"),
    "comfy, model": (
        f"model.diffusion_model.{MODULE}.lora_down.weight",
        f"model.diffusion_model.{MODULE}.lora_up.weight",
    ),
    "kohya": (f"lora_unet_{FLAT}.lora_down.weight", f"lora_unet_{FLAT}.lora_up.weight"),
    "lycoris": (f"lycoris_{FLAT}.lora_down.weight", f"lycoris_{FLAT}.lora_up.weight"),
    "compiled": (
        f"base_model.model._orig_mod.{MODULE}.lora_A.weight",
        f"base_model.model._orig_mod.{MODULE}.lora_B.weight",
    ),
    "wrapped inside": (
        "module.transformer_blocks.1._fsdp_wrapped_module.attn1.to_q.lora_A.weight",
        "module.transformer_blocks.1._fsdp_wrapped_module.attn1.to_q.lora_B.weight",
    ),
    "older": (f"{MODULE}.lora.down.weight", f"{MODULE}.lora.up.weight"),
    "linear layers": (
        f"{MODULE}.lora_linear_layer.down.weight",
        f"{MODULE}.lora_linear_layer.up.weight",
    ),
}


def delta(model: SanaVideoTransformer, path: Path) -> dict[str, torch.Tensor]:
    """Compute the update of each module by a LoRA file."""
    fitting = fit_lora(path, read_lora(path), dict(model.named_parameters()))
    return {name: low_rank.delta(torch.device("cpu")) for name, low_rank in fitting.items()}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".bin"])
def test_lora_key_style_is_recognized(
    model: SanaVideoTransformer, tmp_path: Path, names: tuple[str, str], suffix: str
):
    path = tmp_path / f"l{suffix}"
    held = dict(zip(names, (A, B), strict=True))
    save_file(held, path) if suffix == ".safetensors" else torch.save(held, path)
    found = delta(model, path)
    assert found.keys() == {MODULE}
    torch.testing.assert_close(found[MODULE], B @ A)


@pytest.mark.parametrize(
    "name",
    [f"diffusion_model.{JOINED}", f"lora_unet_{JOINED.replace('.', '_')}", JOINED],
)
def test_lora_of_qkv_matrix_updates_three_modules(
    model: SanaVideoTransformer, tmp_path: Path, name: str
):
    rows = torch.randn(84, 2)
    path = tmp_path / "l.safetensors"
    save_file({f"{name}.lora_down.weight": A, f"{name}.lora_up.weight": rows,
               f"{name}.alpha": torch.tensor(1.0)}, path)  # fmt: skip
    found = delta(model, path)
    whole = torch.cat([found[f"transformer_blocks.1.attn1.to_{part}"] for part in "qkv"])
    torch.testing.assert_close(whole, rows @ A / 2)


OTHERS = {
    "lokr_w1": "LoKr",
    "hada_w1_a": "LoHa",
    "lora_magnitude_vector": "DoRA",
    "dora_scale": "DoRA",
    "lora_B.bias": "a LoRA with biases",
    "lora_mid.weight": "LoCon with a middle factor",
    "oft_blocks": "OFT",
    "diff_b": "a full difference of weights",
    "on_input": "IA3",
}


@pytest.mark.parametrize(("end", "kind"), OTHERS.items())
def test_read_lora_of_other_adapter_kind_raises(tmp_path: Path, end: str, kind: str):
    path = tmp_path / "l.safetensors"
    save_file({f"lora_unet_{FLAT}.{end}": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match=f"not of a plain LoRA.*; it is {kind}"):
        read_lora(path)


@pytest.mark.parametrize("name", ["lora_te_text_model_encoder_layers_0", "text_encoder.layers.0"])
def test_read_lora_of_text_encoder_raises(tmp_path: Path, name: str):
    path = tmp_path / "l.safetensors"
    save_file({f"{name}.lora_down.weight": A}, path)
    with pytest.raises(CheckpointError, match="changes the text encoder"):
        read_lora(path)


BAD: dict[str, tuple[dict[str, torch.Tensor], str]] = {
    "NaN": ({"a.lora_A.weight": A * float("nan"), "a.lora_B.weight": B}, "a holds NaN or infinity"),
    "infinity": ({"a.lora_A.weight": A, "a.lora_B.weight": B / 0}, "a holds NaN or infinity"),
    "alpha": (
        {"a.lora_A.weight": A, "a.lora_B.weight": B, "a.alpha": torch.tensor(float("nan"))},
        "a holds NaN or infinity",
    ),
    "many alphas": (
        {"a.lora_A.weight": A, "a.lora_B.weight": B, "a.alpha": torch.ones(3)},
        "an alpha of 3 numbers",
    ),
    "rank": ({"a.lora_A.weight": A, "a.lora_B.weight": torch.ones(28, 3)}, "has A of shape"),
    "no rank": ({"a.lora_A.weight": A[:0], "a.lora_B.weight": B[:, :0].clone()}, "has A of shape"),
    "flat": ({"a.lora_A.weight": A[0], "a.lora_B.weight": B[:, 0].clone()}, "has A of shape"),
    "whole numbers": (
        {"a.lora_A.weight": A.int(), "a.lora_B.weight": B.int()},
        "give floating-point numbers",
    ),
    "twice": (
        {"a.lora_A.x.weight": A, "a.lora_A.y.weight": A.clone(), "a.lora_B.x.weight": B},
        "has A of a twice",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_read_lora_with_invalid_tensors_raises(tmp_path: Path, name: str):
    held, message = BAD[name]
    path = tmp_path / "l.safetensors"
    save_file(held, path)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_lora(path)
    assert "l.safetensors" in str(caught.value)


def test_fit_lora_of_another_model_raises(model: SanaVideoTransformer, tmp_path: Path):
    path = tmp_path / "l.safetensors"
    save_file({"double_blocks.0.lora_A.weight": A, "double_blocks.0.lora_B.weight": B}, path)
    with pytest.raises(CheckpointError, match=r"double_blocks\.0, which .*it is a LoRA of another"):
        delta(model, path)


def test_read_lora_with_too_many_tensors_raises(tmp_path: Path):
    save_file({f"{i}.alpha": torch.ones(()) for i in range(20_001)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="20001 tensors; a LoRA has at most 20000"):
        read_lora(tmp_path / "a.safetensors")


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), -1e30, True, "1", None])
def test_load_with_invalid_lora_scale_raises_early(tiny_folder: Path, scale: Any):
    with pytest.raises(ConfigError, match=r"LoRA .*none.safetensors has the scale .*-1000 to 1000"):
        Engine.load(tiny_folder, "cpu", "float32", loras=[("none.safetensors", scale)])


def test_lora_overflow_raises_and_keeps_weights(tmp_path: Path):
    class Half(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = torch.nn.Linear(28, 28, dtype=torch.float16)

    model = Half().requires_grad_(False)
    before = model.a.weight.clone()
    path = tmp_path / "l.safetensors"
    save_file({"a.lora_A.weight": A.abs() + 100, "a.lora_B.weight": B.abs() + 100}, path)
    with pytest.raises(CheckpointError, match="not finite; give a smaller scale"):
        LoraStack(model).set([(path, 100.0)])
    assert torch.equal(model.a.weight, before)


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("to_q", True),
        ("attn1.to_q", True),
        (MODULE, True),
        (r"transformer_blocks\.1\.attn1\.to_q", True),
        (".*to_q", True),
        ("^transformer_blocks.*to_q$", True),
        (r"^transformer_blocks\.1\..*", True),
        ("o_q", False),
        ("to_k", False),
        ("^attn1.to_q", False),
        (".*to_q.*to_q", False),
    ],
)
def test_alpha_pattern_matches_as_in_peft(pattern: str, fits: bool):
    settings = {"lora_alpha": 4, "alpha_pattern": {pattern: 7}}
    assert alpha_of(MODULE, 2, settings) == (7 if fits else 4)


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|a)*b", "a{1,9}{1,9}", "[a-z]*", "x" * 301, "(?=a)", "a\\d"]
)
def test_alpha_pattern_with_other_regex_raises(tmp_path: Path, pattern: str):
    metadata = {"lora_adapter_metadata": json.dumps({"transformer.alpha_pattern": {pattern: 1}})}
    with pytest.raises(CheckpointError, match="alpha_pattern"):
        read_settings(tmp_path / "l.safetensors", metadata)


@given(st.text("ab.*^$\\", max_size=60), st.text("ab.", max_size=60))
def test_alpha_pattern_matching_is_fast(pattern: str, name: str):
    with suppress(CheckpointError):
        assert alpha_of(name, 1, {"alpha_pattern": {pattern: 2}}) in (1, 2)


@pytest.mark.parametrize(
    "settings",
    [
        {"lora_alpha": "8"},
        {"lora_alpha": True},
        {"lora_alpha": 10**400},
        {"lora_alpha": [1]},
        {"alpha_pattern": [1]},
        {"alpha_pattern": {"a": None}},
        {"use_rslora": 1},
        [],
        1,
    ],
    ids=lambda value: str(value)[:30],
)
def test_lora_metadata_with_invalid_values_raises(tmp_path: Path, settings: Any):
    metadata = settings
    if isinstance(settings, dict):
        metadata = {f"transformer.{key}": value for key, value in settings.items()}
    with pytest.raises(CheckpointError, match="metadata"):
        read_settings(tmp_path / "x", {"lora_adapter_metadata": json.dumps(metadata)})


@pytest.mark.parametrize("text", ["{", '{"a":' * 10**5, "NaN", "\x1b[2J"])
def test_lora_metadata_that_is_not_json_raises(tmp_path: Path, text: str):
    with pytest.raises(CheckpointError, match="its metadata cannot be read") as caught:
        read_settings(tmp_path / "x", {"lora_adapter_metadata": text})
    assert str(caught.value).isprintable()
