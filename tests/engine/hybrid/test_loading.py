"""SANA-Video 2.0 from its files: recognition, layouts, LoRA, quantization, memory, refusals."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.compatibility import check_parts
from sana_stream.engine.loading.convert import convert_model
from sana_stream.engine.loading.hybrid_presets import SANA2_720P, SANA2_720P_4_STEPS
from sana_stream.engine.loading.inspect import estimate_memory, inspect_model
from sana_stream.engine.loading.locate import HubModel
from sana_stream.engine.performance.compile import compile_networks
from sana_stream.errors import CheckpointError, ConfigError
from sana_stream.models.hybrid.config import CLASS_NAME
from sana_stream.models.hybrid.transformer import HybridTransformer
from sana_stream.models.weights.load import read_vae_file

from ...command import run
from ...hybrid_model import CONFIG, hybrid_tensors, save_hybrid_model
from ...models.hybrid.reference import Sizes, predict

SIZE: dict[str, Any] = {"height": 64, "width": 96}
PROMPT = "a red boat"
PUBLISHED = "checkpoints/SANA_Video_2.0_5B_720p.pth"


def test_files_are_recognized_by_their_tensors_and_names(base: Engine, four: Engine):
    assert isinstance(base.transformer, HybridTransformer)
    assert base.transformer.config == CONFIG
    assert base.preset == SANA2_720P
    assert four.preset == SANA2_720P_4_STEPS
    assert (base.preset.height, base.preset.width, base.size_multiple) == (736, 1280, (32, 32))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("checkpoints/SANA_Video_2.0_5B_720p_4step.pth", SANA2_720P_4_STEPS),
        ("video-4-steps.pth", SANA2_720P_4_STEPS),
        ("tests of 4step models/SANA_Video_2.0_5B_720p.pth", SANA2_720P),
        ("SANA_Video_2.0_5B_24steps.pth", SANA2_720P),
        ("renamed.safetensors", SANA2_720P),
    ],
)
def test_name_decides_on_the_number_of_steps(tmp_path: Path, parts: Path, name: str, expected):
    path = tmp_path / Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(hybrid_tensors(), path)
    else:
        save_hybrid_model(path)
    assert inspect_model(path, parts).preset == expected


def test_published_file_is_a_hub_id():
    parsed = HubModel.parse(f"Efficient-Large-Model/SANA-Video_2.0_5B_720p/{PUBLISHED}")
    assert parsed == HubModel("Efficient-Large-Model/SANA-Video_2.0_5B_720p", PUBLISHED)


def test_folder_without_an_index_names_the_file_in_it(file: Path):
    with pytest.raises(CheckpointError, match=r"or its file .*SANA_Video_2\.0"):
        inspect_model(file.parent)


def test_velocity_of_a_loaded_file_equals_the_formulas(base: Engine):
    sizes = Sizes(128, 256, 128, (3,), 4, 8)
    latents = torch.randn(CONFIG.in_channels, 2, 2, 1)
    embeds, mask = base.encode_prompt(PROMPT)
    expected = predict(
        hybrid_tensors(), sizes, latents, torch.tensor([612.0] * 2), embeds[0], mask[0]
    )
    text = base.transformer.prepare_text(embeds, mask)
    assert isinstance(base.transformer, HybridTransformer)
    ours = base.transformer.denoise(latents[None], torch.tensor([612.0]), text)
    torch.testing.assert_close(ours[0].double(), expected, atol=1e-5, rtol=1e-4)


def test_compiled_clip_equals_the_eager_one(four_step_file: Path, parts: Path, four: Engine):
    compiled = Engine.load(four_step_file, "cpu", "float32", parts=parts)
    compile_networks(compiled, backend="eager")
    ours, plain = (next(e.session(PROMPT, block_frames=1, **SIZE)) for e in (compiled, four))
    torch.testing.assert_close(ours.latents, plain.latents, atol=1e-4, rtol=1e-4)


def test_int8_weights_give_nearly_the_same_clip(four_step_file: Path, parts: Path, four: Engine):
    pytest.importorskip("torchao")
    small = Engine.load(four_step_file, "cpu", "float32", parts=parts, quantize="int8")
    beta = dict(small.transformer.named_parameters())["transformer_blocks.0.attn1.to_beta.weight"]
    assert type(beta) is torch.nn.Parameter
    ours, plain = (next(e.session(PROMPT, block_frames=1, **SIZE)) for e in (small, four))
    difference = (ours.latents - plain.latents).norm() / plain.latents.norm()
    assert 0 < difference < 0.1


def test_fp8_products_give_nearly_the_same_clip(four_step_file: Path, parts: Path, four: Engine):
    small = Engine.load(four_step_file, "cpu", "float32", parts=parts)
    small.quantize("fp8", None)
    ours, plain = (next(e.session(PROMPT, block_frames=1, **SIZE)) for e in (small, four))
    difference = (ours.latents - plain.latents).norm() / plain.latents.norm()
    assert 1e-3 < difference < 0.3


@pytest.mark.parametrize(
    ("module", "changed", "rows"),
    [
        ("blocks.0.attn.qkv", "transformer_blocks.0.attn1.to_k.weight", slice(256, 512)),
        ("blocks.1.mlp.gate_proj", "transformer_blocks.1.ff.gate_proj.weight", slice(None)),
        ("blocks.3.attn.output_gate", "transformer_blocks.3.attn1.to_gate.weight", slice(None)),
        ("transformer_blocks.2.attn1.to_q", "transformer_blocks.2.attn1.to_q.weight", slice(None)),
    ],
)
def test_lora_under_published_names_is_merged(
    four_step_file: Path, parts: Path, tmp_path: Path, module: str, changed: str, rows: slice
):
    engine = Engine.load(four_step_file, "cpu", "float32", parts=parts)
    before = dict(engine.transformer.named_parameters())[changed].clone()
    outputs = 768 if module.endswith("qkv") else 256
    A, B = torch.randn(2, 256), torch.randn(outputs, 2)
    lora = tmp_path / "style.safetensors"
    save_file({f"{module}.lora_A.weight": A, f"{module}.lora_B.weight": B}, lora)
    engine.set_loras([(lora, 0.5)])
    after = dict(engine.transformer.named_parameters())[changed]
    torch.testing.assert_close(after, before + 0.5 * (B @ A)[rows])
    engine.set_loras([])
    assert torch.equal(dict(engine.transformer.named_parameters())[changed], before)


def test_converted_folder_and_file_equal_the_original(
    four_step_file: Path, parts: Path, tmp_path: Path, four: Engine
):
    folder, back = tmp_path / "folder", tmp_path / "back.pth"
    convert_model(four_step_file, folder, parts)
    assert json.loads((folder / "transformer/config.json").read_text())["_class_name"] == CLASS_NAME
    engine = Engine.load(folder, "cpu", "float32")
    assert engine.preset == replace(four.preset, name=engine.preset.name)
    assert engine.preset.name == SANA2_720P_4_STEPS.name
    assert engine.fingerprint.matches(four.fingerprint)
    convert_model(folder, back)
    tensors = torch.load(back, weights_only=True)["state_dict"]
    original = torch.load(four_step_file, weights_only=True)["state_dict_ema"]
    del original["pos_embed"], original["y_embedder.y_embedding"]
    assert tensors.keys() == original.keys()
    assert all(torch.equal(tensors[name], original[name]) for name in original)


def test_info_names_the_model_and_its_limits(
    four_step_file: Path, parts: Path, capfd: pytest.CaptureFixture[str]
):
    words = ("--parts", parts, "--size", "96x64", "--device", "cpu", "--json")
    assert run("info", four_step_file, *words) == 0
    facts = json.loads(capfd.readouterr().out)
    assert facts["model"] == "SANA-Video 2.0 5B 720p, 4 steps"
    assert (facts["clips_only"], facts["image_start"]) == (True, False)
    assert facts["memory_policy"] is None
    assert facts["sampling"]["solver"] == "renoise"
    assert facts["sampling"]["timesteps"] == pytest.approx([999.833, 947.169, 856.898, 666.37])
    assert facts["trained_seconds"] == 81 / 16
    assert facts["problems"] == []
    assert run("info", four_step_file, *words[:-1]) == 0
    assert "one clip at a time" in capfd.readouterr().out


def test_memory_estimate_has_no_state_and_no_scores_of_all_tokens(file: Path, parts: Path):
    info = inspect_model(file, parts)
    estimates = [estimate_memory(info, "cpu", "float32", 64 * n, 96 * n) for n in (4, 8)]
    small, large = (e.memory.denoise for e in estimates if e is not None)
    assert large / small < 4.5  # four times the tokens; their square would be 16 times


def test_file_without_parts_names_what_is_needed(file: Path):
    problems = inspect_model(file).problems
    assert any("LTX-2.3-Diffusers" in line and "give parts=" in line for line in problems)


def test_vae_of_the_older_model_is_refused(file: Path, parts: Path, tmp_path: Path):
    folder = tmp_path / "parts"
    shutil.copytree(parts, folder)
    path = folder / "vae/config.json"
    older = {"block_out_channels": [256, 512, 1024, 2048]}
    path.write_text(json.dumps(json.loads(path.read_text()) | older))
    assert inspect_model(file, folder).problems  # the tensors here are not LTX-2's either
    vae = read_vae_file(parts)
    check_parts(CONFIG, vae, parts)
    with pytest.raises(
        ConfigError, match=r"LTX-2's VAE; SANA-Video 2\.0 has the latents of LTX-2\.3"
    ):
        check_parts(CONFIG, vae, folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("attn_res.mlp_proj.weight"), "lacks attn_res.mlp_proj.weight"),
        (lambda t: t.pop("blocks.1.attn.beta_proj.bias"), "to_beta.bias"),
        (lambda t: t.update({"blocks.0.attn.surprise": torch.zeros(1)}), "is not a tensor of SANA"),
        (
            lambda t: t.update({"x_embedder.proj.weight": torch.zeros(256, 4, 1, 2, 2)}),
            "SANA-Video 2.0 has (1, 1, 1)",
        ),
        (
            lambda t: t.update({"x_embedder.proj.weight": torch.zeros(128, 4, 1, 1, 1)}),
            "width 128 is not a multiple of 256",
        ),
    ],
    ids=["residual", "bias", "unknown", "patch", "width"],
)
def test_damaged_files_are_refused(tmp_path: Path, parts: Path, change, message: str):
    tensors = hybrid_tensors()
    change(tensors)
    path = tmp_path / "broken.pth"
    torch.save({"state_dict": tensors}, path)
    with pytest.raises(CheckpointError, match=re.escape(message)) as caught:
        Engine.load(path, "cpu", "float32", parts=parts)
    assert "\n" not in str(caught.value)


def test_presets_are_the_published_commands():
    assert (SANA2_720P.fps, SANA2_720P.guidance, SANA2_720P.flow_shift) == (24, 8.0, 12.0)
    assert (1 + SANA2_720P.block_frames * 8, 1 + SANA2_720P_4_STEPS.block_frames * 8) == (193, 81)
    for preset in (SANA2_720P, SANA2_720P_4_STEPS):
        assert preset.motion_score == " motion score: 20."
        assert '"Enhanced prompt"' in preset.instruction[0]
        assert "image generation" in preset.instruction[0]
        assert not preset.lower_case
        assert preset.cross_norm_eps == 1e-6
