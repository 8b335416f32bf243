"""The fused kernels: in Triton's interpreter, compiled for GPUs that are not here, and chosen."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from sana_stream.engine.engine import Engine
from sana_stream.models.kernels import choose
from sana_stream.models.kernels.choose import choose_kernels

HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent
needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason="triton is missing: pip install triton"
)


@needs_triton
def test_kernels_equal_the_plain_code():
    """Run both files of interpreted kernels in a process where triton interprets them."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [*command, *(str(HERE / name) for name in ("interpreted.py", "interpreted_streams.py"))],
        cwd=ROOT,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]


@needs_triton
@pytest.mark.parametrize("architecture", [90, 120])
def test_kernels_compile_for_a_gpu_without_spills(architecture: int):
    """Compile the shapes of the 2B model ahead of time, in a process without the interpreter."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    result = subprocess.run(
        [sys.executable, str(HERE / "compiled.py"), str(architecture)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]


CUDA = torch.device("cuda", 0)


@pytest.fixture
def hopper(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Pretend that there is a GPU and triton; returns what is registered."""
    registered: list[str] = []
    monkeypatch.delenv(choose.VARIABLE, raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(choose, "find_spec", lambda name: name)
    monkeypatch.setattr(choose, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(choose, "register_kernels", lambda: registered.append("kernels"))
    return registered


def test_kernels_run_on_cuda_in_half_precision(hopper: list[str]):
    assert choose_kernels(CUDA, torch.bfloat16, 112)
    assert choose_kernels(CUDA, torch.float16, 32)
    assert len(hopper) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="triton brings a compiler elsewhere")
@pytest.mark.parametrize("compiler", ["CC", "gcc", "clang", None])
def test_triton_needs_a_compiler(
    hopper: list[str], monkeypatch: pytest.MonkeyPatch, compiler: str | None
):
    """As in a container without build tools; kernels would fail in the first block."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(choose, "which", lambda name: name if name == compiler else None)
    if compiler == "CC":
        monkeypatch.setenv("CC", "tcc")
    assert choose_kernels(CUDA, torch.bfloat16, 112) == (compiler is not None)


@pytest.mark.parametrize(
    ("device", "dtype", "head_dim"),
    [("cpu", torch.bfloat16, 112), ("cuda", torch.float32, 112), ("cuda", torch.bfloat16, 160)],
)
def test_other_models_run_the_plain_code(
    hopper: list[str], device: str, dtype: torch.dtype, head_dim: int
):
    assert not choose_kernels(torch.device(device), dtype, head_dim)
    assert not hopper


def test_kernels_are_left_out_on_old_gpus_and_by_request(
    hopper: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert not choose_kernels(CUDA, torch.bfloat16, 112)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setenv(choose.VARIABLE, "off")
    assert not choose_kernels(CUDA, torch.bfloat16, 112)
    assert not hopper


def test_missing_triton_is_reported(
    hopper: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(choose, "find_spec", lambda _: None)
    assert not choose_kernels(CUDA, torch.bfloat16, 112)
    assert "pip install triton" in caplog.text


def test_a_model_on_the_cpu_runs_the_plain_code(tiny_engine: Engine):
    layers = tiny_engine.transformer.layers
    assert not any(part.fused for layer in layers for part in (layer, layer.attn1, layer.ff))
