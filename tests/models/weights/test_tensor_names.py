"""Tensor names with prefixes of wrapper modules, in any nesting and order."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from sana_stream._text import name_list
from sana_stream.errors import CheckpointError
from sana_stream.models.weights.load import read_transformer
from sana_stream.models.weights.tensor_names import plain_name, plain_names

OUTER = ("model", "diffusion_model", "base_model", "transformer", "generator", "ema_model")
WRAPPERS = ("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
NAMES = (
    "transformer_blocks.0.attn1.to_q.weight",
    "blocks.11.attn.qkv.weight",
    "scale_shift_table",
    "decoder.up_blocks.0.resnets.1.conv1.weight",
)


@given(
    st.sampled_from(NAMES),
    st.lists(st.sampled_from((*OUTER, *WRAPPERS)), max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(WRAPPERS)), max_size=4),
)
def test_plain_name_removes_wrappers_anywhere(
    name: str, before: list[str], inside: list[tuple[int, str]]
):
    parts = name.split(".")
    for place, wrapper in inside:
        parts.insert(min(place, len(parts) - 1), wrapper)
    assert plain_name(".".join((*before, *parts))) == name


@pytest.mark.parametrize("name", NAMES)
def test_plain_name_keeps_plain_name(name: str):
    assert plain_name(name) == name


def test_plain_names_with_duplicate_raises():
    with pytest.raises(CheckpointError, match=r"x holds a\.b twice, once as model\.a\.b"):
        plain_names([("a.b", 1), ("model.a.b", 2)], "x")


@pytest.mark.parametrize("averaged", ["ema_model.a.b", "module.ema_model.module.a.b"])
def test_averaged_tensor_is_read_only_without_another(averaged: str):
    for named in ([(averaged, 2), ("generator.a.b", 1)], [("a.b", 1), (averaged, 2)]):
        assert plain_names(named, "x") == {"a.b": 1}
    assert plain_names([(averaged, 2)], "x") == {"a.b": 2}


def test_name_list_is_short_and_printable():
    text = name_list(["b\x1b[2J", "a" * 10**6, *map(str, range(100))])
    assert text.isprintable()
    assert len(text) < 500
    assert text.endswith("and 99 more")


@pytest.mark.parametrize("kind", ["safetensors", "torch", "older torch"])
@pytest.mark.parametrize("prefix", ["module._orig_mod.", "model.diffusion_model.", "net.module."])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin", ".ckpt"])
def test_weights_format_is_detected_under_any_suffix(
    tmp_path: Path, tiny_folder: Path, kind: str, prefix: str, suffix: str
):
    config, tensors = read_transformer(tiny_folder)
    wrapped = {
        prefix + name.replace("attn1.", "attn1._checkpoint_wrapped_module."): tensor.clone()
        for name, tensor in tensors.items()
    }
    path = tmp_path / f"m{suffix}"
    if kind == "safetensors":
        save_file(wrapped, path)
    else:
        torch.save(wrapped, path, _use_new_zipfile_serialization=kind == "torch")
    (tmp_path / "config.json").write_bytes((tiny_folder / "transformer/config.json").read_bytes())
    found, read = read_transformer(path)
    assert found == config
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
