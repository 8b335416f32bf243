"""Streams with the fused kernels in Triton's interpreter; `test_kernels.py` runs this file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from sana_stream.engine.block import Block
from sana_stream.engine.engine import Engine
from sana_stream.engine.performance.compile import compile_networks
from sana_stream.engine.performance.cuda_graphs import capture_graphs
from sana_stream.models import fp8 as fp8_layers
from sana_stream.models.transformer import SanaVideoTransformer

from ...engine.fake_graph_capture import TapeRecorder
from ...engine.session.test_session import same, take
from ..test_transformer import relative_error
from . import interpreted as interpreted  # registers the kernels

# small and short: the interpreter takes a tenth of a second for each program of a kernel
SIZE = {"height": 16, "width": 32, "block_frames": 1}
SHORT: dict[str, Any] = {"seed": 3, "steps": 1} | SIZE


def one_layer(folder: Path, *, fused: bool) -> Engine:
    engine = Engine.load(folder, device="cpu", dtype="float32")
    model = engine.transformer
    assert isinstance(model, SanaVideoTransformer)
    model.transformer_blocks = model.transformer_blocks[:1]
    model.config = replace(model.config, num_layers=1)
    model.set_kernels(fused)
    return engine


@pytest.fixture
def engine(tiny_folder: Path) -> Engine:
    """The first layer of the tiny model, with fused kernels."""
    return one_layer(tiny_folder, fused=True)


@pytest.fixture
def fp8_engine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The same in fp8."""
    monkeypatch.setattr(fp8_layers, "MULTIPLE", 1)  # a tiny model's sides
    engine.quantize("fp8", None)
    return engine


@pytest.fixture(scope="module")
def plain(tiny_folder: Path) -> list[Block]:
    """Blocks of the same layer in plain code."""
    engine = one_layer(tiny_folder, fused=False)
    return take(engine.session("a red boat", memory="window=2,sink=1", **SHORT), 3)


def check(blocks: list[Block], expected: list[Block]) -> None:
    for own, other in zip(blocks, expected, strict=True):
        assert relative_error(own.latents, other.latents) < 1e-4


def test_a_resumed_stream_equals_an_undisturbed_one(
    engine: Engine, plain: list[Block], tmp_path: Path
):
    session = engine.session("a red boat", memory="window=2,sink=1", **SHORT)
    first = take(session, 1)
    session.save(tmp_path / "boat.ckpt")
    straight = take(session, 2)
    assert same(take(engine.resume(tmp_path / "boat.ckpt"), 2), straight)
    check(first + straight, plain)


def test_a_resumed_fp8_stream_equals_an_undisturbed_one(fp8_engine: Engine, tmp_path: Path):
    session = fp8_engine.session("a red boat", **SHORT)
    take(session, 1)
    session.save(tmp_path / "boat.ckpt")
    straight = take(session, 1)
    assert same(take(fp8_engine.resume(tmp_path / "boat.ckpt"), 1), straight)


def test_compiled_layers_hold_the_kernels_as_operators(engine: Engine, plain: list[Block]):
    torch._dynamo.reset()
    counters.clear()
    compile_networks(engine, backend="aot_eager")
    blocks = take(engine.session("a red boat", memory="window=2,sink=1", **SHORT), 2)
    assert counters["stats"]["unique_graphs"] == 2
    assert not counters["graph_break"]
    check(blocks, plain[:2])


def test_captured_graphs_hold_the_kernels(engine: Engine, plain: list[Block]):
    tape = TapeRecorder()
    capture_graphs(engine, **SIZE, recorder=tape)
    blocks = take(engine.session("a red boat", memory="window=2,sink=1", **SHORT), 2)
    assert tape.repeated >= 3
    check(blocks, plain[:2])
