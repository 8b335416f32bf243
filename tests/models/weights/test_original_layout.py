"""Conversion between the original layout and diffusers', and unsafe or damaged files."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sana_stream.errors import CheckpointError
from sana_stream.models.config import TransformerConfig
from sana_stream.models.transformer import SanaVideoTransformer
from sana_stream.models.weights.load import read_transformer
from sana_stream.models.weights.original_layout import from_original, infer_config, to_original
from sana_stream.models.weights.torch_file import _WRAPPERS, read_torch_file

D, CAPTION, HIDDEN = 2240, 2304, 6720
LAYER = {
    "scale_shift_table": (6, D),
    "attn.qkv.weight": (3 * D, D),
    "attn.q_norm.weight": (D,),
    "attn.k_norm.weight": (D,),
    "attn.proj.weight": (D, D),
    "attn.proj.bias": (D,),
    "cross_attn.q_linear.weight": (D, D),
    "cross_attn.q_linear.bias": (D,),
    "cross_attn.kv_linear.weight": (2 * D, D),
    "cross_attn.kv_linear.bias": (2 * D,),
    "cross_attn.q_norm.weight": (D,),
    "cross_attn.k_norm.weight": (D,),
    "cross_attn.proj.weight": (D, D),
    "cross_attn.proj.bias": (D,),
    "mlp.inverted_conv.conv.weight": (2 * HIDDEN, D, 1, 1),
    "mlp.inverted_conv.conv.bias": (2 * HIDDEN,),
    "mlp.depth_conv.conv.weight": (2 * HIDDEN, 1, 3, 3),
    "mlp.depth_conv.conv.bias": (2 * HIDDEN,),
    "mlp.point_conv.conv.weight": (D, HIDDEN, 1, 1),
    "mlp.t_conv.weight": (D, D, 3, 1),
}
PUBLISHED_2B = {
    "x_embedder.proj.weight": (D, 16, 1, 2, 2),
    "x_embedder.proj.bias": (D,),
    "t_embedder.mlp.0.weight": (D, 256),
    "t_embedder.mlp.0.bias": (D,),
    "t_embedder.mlp.2.weight": (D, D),
    "t_embedder.mlp.2.bias": (D,),
    "t_block.1.weight": (6 * D, D),
    "t_block.1.bias": (6 * D,),
    "y_embedder.y_proj.fc1.weight": (D, CAPTION),
    "y_embedder.y_proj.fc1.bias": (D,),
    "y_embedder.y_proj.fc2.weight": (D, D),
    "y_embedder.y_proj.fc2.bias": (D,),
    "attention_y_norm.weight": (D,),
    "final_layer.linear.weight": (64, D),
    "final_layer.linear.bias": (64,),
    "final_layer.scale_shift_table": (2, D),
    **{f"blocks.{i}.{name}": shape for i in range(20) for name, shape in LAYER.items()},
}


def tiny(width: int = 112) -> SanaVideoTransformer:
    torch.manual_seed(0)
    return SanaVideoTransformer(
        TransformerConfig(
            in_channels=4,
            out_channels=4,
            num_attention_heads=1,
            attention_head_dim=width,
            num_layers=2,
            num_cross_attention_heads=1,
            cross_attention_head_dim=width,
            cross_attention_dim=width,
            caption_channels=8,
            mlp_ratio=1.5,
        )
    )


def original(model: SanaVideoTransformer) -> dict[str, Tensor]:
    extra = {"pos_embed": torch.zeros(1), "y_embedder.y_embedding": torch.zeros(2)}
    return to_original(model.state_dict()) | extra


def test_to_original_gives_names_of_published_2b_file():
    with torch.device("meta"):
        ours = SanaVideoTransformer(TransformerConfig()).state_dict()
        theirs = {name: torch.empty(shape) for name, shape in PUBLISHED_2B.items()}
    assert {n: tuple(t.shape) for n, t in to_original(ours).items()} == PUBLISHED_2B
    converted = from_original(theirs)
    assert {n: t.shape for n, t in converted.items()} == {n: t.shape for n, t in ours.items()}
    assert infer_config(converted) == TransformerConfig()


def test_layout_conversion_round_trips():
    before = tiny().state_dict()
    after = from_original(original(tiny()))
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_layout_conversion_of_unknown_name_raises():
    with pytest.raises(CheckpointError, match=r"blocks\.0\.attn\.lora is not a tensor"):
        from_original({"blocks.0.attn.lora": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="surprise is not a tensor"):
        to_original({"surprise": torch.zeros(1)})


WRAPPED: dict[str, Any] = {
    "bare": lambda t: t,
    "state_dict": lambda t: {"epoch": 3, "state_dict": t, "optimizer": {"lr": 0.1}},
    "generator": lambda t: {"generator": {f"model.{n}": v for n, v in t.items()}, "critic": {}},
    "fsdp": lambda t: {
        "generator": {f"model._fsdp_wrapped_module.{n}": v for n, v in t.items()},
    },
    "compiled": lambda t: {"state_dict": {f"module._orig_mod.{n}": v for n, v in t.items()}},
    "averaged": lambda t: {"state_dict": {}, "state_dict_ema": t},
    "averaged-inside": lambda t: {"state_dict_ema": {"module": t}},
    "averaged-after-other-values": lambda t: {"model": {"depth": 20}, "ema": t},
}
# the averages next to trained weights, by their keys, as training code of the authors and others
AVERAGED = (
    ("generator", "generator_ema"),
    ("state_dict", "state_dict_ema"),
    ("model", "ema"),
    ("module", "ema_state_dict"),
    ("model_state_dict", "ema_model"),
    ("params", "params_ema"),
)
for trained, averaged in AVERAGED:
    WRAPPED[f"{trained}-with-{averaged}"] = lambda t, trained=trained, averaged=averaged: {
        averaged: {n: torch.zeros_like(v) for n, v in t.items()},
        trained: t,
    }


@pytest.mark.parametrize("wrapping", WRAPPED)
def test_read_transformer_finds_nested_weights(tmp_path: Path, wrapping: str):
    model = tiny()
    path = tmp_path / "model.pt"
    torch.save(WRAPPED[wrapping](original(model)), path)
    config, tensors = read_transformer(path)
    assert config == model.config
    assert tensors.keys() == model.state_dict().keys()
    assert all(torch.equal(tensors[name], value) for name, value in model.state_dict().items())


def test_dictionaries_that_contain_one_another_are_searched_once(tmp_path: Path):
    """Every key leads to the same inner dictionary: a search without memory takes 13^8 steps."""
    held: dict[str, Any] = {"config": 1}
    for _ in range(8):
        held = dict.fromkeys(_WRAPPERS, held)
    torch.save(held, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="holds no dictionary of tensors"):
        read_torch_file(tmp_path / "model.pt")


def test_unusual_head_width_requires_config_file(tmp_path: Path, tiny_folder: Path):
    _, tensors = read_transformer(tiny_folder)
    path = tmp_path / "small.pth"
    torch.save({"state_dict": to_original(tensors)}, path)
    with pytest.raises(CheckpointError, match=r"width 28 is not a multiple of 112.*config\.json"):
        read_transformer(path)
    shutil.copy(tiny_folder / "transformer/config.json", tmp_path)
    assert read_transformer(path)[0].num_attention_heads == 2


class Malicious:
    def __reduce__(self):
        return os.system, ("touch hacked",)


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_read_torch_file_does_not_run_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pth"
    if kind == "torch":
        torch.save({"state_dict": {"x": torch.zeros(1)}, "extra": Malicious()}, path)
    else:
        path.write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(CheckpointError, match=r"bad\.pth") as caught:
        read_torch_file(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: p.unlink(), "is missing"),
        (
            lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
            "not a complete PyTorch",
        ),
        (lambda p: p.write_bytes(b""), "not a complete PyTorch"),
        (lambda p: torch.save({"config": {"a": 1}}, p), "holds no dictionary of tensors"),
        (lambda p: torch.save({"state_dict": {"a.b": torch.zeros(1)}}, p), "a.b is not a tensor"),
    ],
    ids=["missing", "cut", "empty", "no-tensors", "other-model"],
)
def test_read_transformer_of_damaged_file_raises(tmp_path: Path, spoil: Any, message: str):
    path = tmp_path / "model.pth"
    torch.save({"state_dict": original(tiny())}, path)
    spoil(path)
    with pytest.raises(CheckpointError, match=message):
        read_transformer(path)
