"""Quantized weights: the error against full precision, excluded layers, and refusals."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sana_stream.engine.engine import Engine
from sana_stream.engine.loading import quantize
from sana_stream.engine.loading.presets import LONGSANA
from sana_stream.engine.loading.quantize import check_quantization, quantize_network
from sana_stream.errors import ConfigError
from sana_stream.models import fp8

CUDA = torch.device("cuda")


@pytest.fixture
def torchao() -> None:
    """torchao, which is an optional extra."""
    pytest.importorskip("torchao")


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.float() - other.float()).norm() / other.float().norm())


@pytest.mark.usefixtures("torchao")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_int8_is_close_to_full_precision(tiny_folder: Path, dtype: str):
    plain = Engine.load(tiny_folder, "cpu", dtype)
    small = Engine.load(tiny_folder, "cpu", dtype, quantize="int8")
    text = plain.transformer.prepare_text(*plain.encode_prompt("a red boat"))
    session = plain.session("a red boat")
    past = session.snapshot().states[0].past()
    latents = torch.randn(1, 4, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        one, other = (
            engine.transformer.denoise(latents, torch.tensor([800.0]), text, past, 0)
            for engine in (small, plain)
        )
    assert 1e-4 < relative(one, other) < 0.02
    blocks = [next(engine.session("a red boat")) for engine in (small, plain)]
    assert relative(blocks[0].latents, blocks[1].latents) < 0.05


@pytest.mark.usefixtures("torchao")
def test_layers_named_in_the_preset_are_not_quantized(tiny_folder: Path):
    plain = Engine.load(tiny_folder, "cpu", "float32")
    small = Engine.load(tiny_folder, "cpu", "float32", quantize="int8")
    before = dict(plain.transformer.named_parameters())
    same = set()
    for name, weight in small.transformer.named_parameters():
        if type(weight.data) is torch.Tensor and torch.equal(weight, before[name]):
            same.add(name)
    quantized = {name for name in before if name.endswith("weight")} - same
    layer = ["attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "attn2.to_q"]
    layer += ["attn2.to_out.0", "ff.conv_inverted", "ff.conv_point"]
    assert quantized == {
        f"transformer_blocks.{i}.{name}.weight" for i in range(2) for name in layer
    }


@pytest.mark.usefixtures("torchao")
def test_text_encoder_is_quantized_to_int8(tiny_folder: Path):
    plain = Engine.load(tiny_folder, "cpu", "float32")
    small = Engine.load(tiny_folder, "cpu", "float32", quantize_text="int8")
    (one, mask), (other, _) = (e.encode_prompt("a red boat") for e in (small, plain))
    kept = mask.bool()
    assert 1e-5 < relative(one[kept], other[kept]) < 0.05
    assert np.isfinite(next(small.session("a red boat")).latents.numpy()).all()


@pytest.mark.usefixtures("torchao")
def test_stream_resumes_quantized_and_loras_are_unchanged(tiny_folder: Path, tmp_path: Path):
    plain = Engine.load(tiny_folder, "cpu", "float32")
    small = Engine.load(tiny_folder, "cpu", "float32", quantize="int8")
    session = plain.session("a red boat")
    next(session)
    session.save(tmp_path / "s.safetensors")
    assert next(small.resume(tmp_path / "s.safetensors")).index == 1
    with pytest.raises(ConfigError, match=r"quantized; give LoRA files to Engine\.load"):
        small.set_loras([])


def test_text_keys_and_values_are_never_quantized():
    assert {"attn2.to_k", "attn2.to_v", "proj_out"} <= set(LONGSANA.full_precision)


@pytest.mark.parametrize(
    ("kind", "device", "capability", "message"),
    [
        ("int3", "cpu", None, "quantization 'int3' is not known; use int8, fp8, nvfp4"),
        ("fp8", "cpu", None, "fp8 needs an NVIDIA GPU of the Ada or Hopper"),
        ("fp8", "cuda", (8, 6), "use int8, which runs anywhere"),
        ("nvfp4", "cuda", (9, 0), "nvfp4 needs an NVIDIA GPU of the Blackwell"),
    ],
)
def test_unsupported_hardware_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    device: str,
    capability: tuple[int, int] | None,
    message: str,
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    with pytest.raises(ConfigError, match=message):
        check_quantization(kind, torch.device(device))


def test_supported_hardware_is_accepted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torchao", SimpleNamespace(quantization=None))
    monkeypatch.setitem(sys.modules, "torchao.quantization", SimpleNamespace())
    monkeypatch.setattr(quantize, "product_error", lambda device: None)
    for kind, capability in (("fp8", (8, 9)), ("fp8", (12, 0)), ("nvfp4", (10, 0))):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda d, c=capability: c)
        check_quantization(kind, CUDA)


@pytest.mark.parametrize(
    ("kind", "dtype", "message"),
    [
        (
            "fp8",
            torch.float32,
            'fp8 does not support float32 weights; use dtype="bfloat16", or int8',
        ),
        ("fp8", torch.float16, "fp8 does not support float16 weights"),
        ("nvfp4", torch.float16, "nvfp4 does not support float16 weights"),
    ],
)
def test_unsupported_weights_are_refused(
    monkeypatch: pytest.MonkeyPatch, kind: str, dtype: torch.dtype, message: str
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (12, 0))
    with pytest.raises(ConfigError, match=message):
        check_quantization(kind, CUDA, dtype)


def test_fp8_without_its_products_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 9))
    monkeypatch.setattr(quantize, "product_error", lambda device: "only on newer GPUs")
    with pytest.raises(ConfigError, match=r"\(only on newer GPUs\); use a newer torch, or int8"):
        check_quantization("fp8", CUDA)


def test_fp8_products_are_those_of_dequantized_rows():
    x, weight = torch.randn(3, 5, 32) * 10, torch.randn(48, 32)
    x[0, 0], x[1] = 0, x[1] * 1e5
    layer, rows = fp8.Fp8Linear(weight, torch.randn(48)), fp8.quantize_rows(x)
    assert layer.bias is not None
    expected = fp8.dequantize(rows) @ fp8.dequantize(layer.matrix).T + layer.bias
    assert relative(layer(x), expected) < 1e-6
    assert torch.equal(layer(rows), layer(x))
    errors = (fp8.dequantize(rows) - x).abs() / x.abs().amax(-1, keepdim=True).clamp_min(1e-9)
    assert errors.max() <= 1 / 28  # half of a step between the two largest numbers
    assert layer(x * torch.nan).isnan().all()
    turned = torch.randn(32, 5).T  # rows whose elements are not adjacent
    assert torch.equal(layer(turned), layer(turned.contiguous()))


def test_fp8_products_are_tried_on_the_device(monkeypatch: pytest.MonkeyPatch):
    cpu = torch.device("cpu")
    assert fp8.product_error(cpu) is None

    def missing(*_: Any) -> torch.Tensor:
        raise RuntimeError("only on newer GPUs\nException raised from somewhere")

    monkeypatch.setattr(fp8, "scaled_product", lambda *_: torch.zeros(2))
    assert fp8.product_error(cpu) == "it computes wrong products"
    monkeypatch.setattr(fp8, "scaled_product", missing)
    assert fp8.product_error(cpu) == "only on newer GPUs"


def test_fp8_quantizes_all_large_products(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fp8, "MULTIPLE", 1)
    plain, small = (Engine.load(tiny_folder, "cpu", "float32") for _ in range(2))
    small.quantize("fp8", None)
    layers = [n for n, m in small.transformer.named_modules() if isinstance(m, fp8.Fp8Linear)]
    names = ["attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "attn2.to_q"]
    names += ["attn2.to_out.0", "ff.conv_inverted", "ff.conv_point", "ff.conv_temp"]
    assert layers == [f"transformer_blocks.{i}.{name}" for i in range(2) for name in names]
    assert small.quantized == "fp8"
    one, other = (next(engine.session("a red boat")).latents for engine in (small, plain))
    assert 1e-4 < relative(one, other) < 0.2
    small.quantize(None, "fp8")  # and what the preset keeps; what is fp8 stays as it is
    before = small.transformer.layers[0].attn1.to_q
    quantize_network(small.transformer, "fp8")
    assert small.transformer.layers[0].attn1.to_q is before
    assert isinstance(small.transformer.proj_out, fp8.Fp8Linear)
    again = next(small.session("a red boat")).latents
    assert relative(one, other) < relative(again, other) < 0.4


@pytest.mark.usefixtures("torchao")
@pytest.mark.parametrize("kind", ["int8", "nvfp4"])
def test_torchao_provides_every_kind(monkeypatch: pytest.MonkeyPatch, kind: str):
    """The settings are torchao's own classes; only a GPU can apply the last one."""
    given = {}

    def quantize_(network: nn.Module, config: Any, filter_fn: Any) -> None:
        given["config"] = type(config).__name__
        given["fused"] = getattr(config, "use_triton_kernel", None)
        given["layers"] = [name for name, m in network.named_modules() if filter_fn(m, name)]

    monkeypatch.setattr("torchao.quantization.quantize_", quantize_)
    layers = {"odd": nn.Linear(28, 32), "even": nn.Linear(32, 48), "kept": nn.Linear(32, 32)}
    quantize_network(nn.ModuleDict(layers), kind, ("kept",))
    assert (
        given["config"]
        == {
            "int8": "Int8WeightOnlyConfig",
            "nvfp4": "NVFP4DynamicActivationNVFP4WeightConfig",
        }[kind]
    )
    assert given["layers"] == (["even"] if kind == "nvfp4" else ["odd", "even"])
    if kind == "nvfp4":  # its fused kernel is in a package that torchao does not bring
        assert given["fused"] == (find_spec("mslk") is not None)


def test_missing_torchao_names_the_extra(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("torchao", "torchao.quantization"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"pip install 'sana-stream\[quant\]'"):
        Engine.load(tiny_folder, "cpu", "float32", quantize="int8")
