"""Compiled networks give the numbers of uncompiled ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sana_stream.engine.engine import Engine
from sana_stream.engine.performance.compile import compile_networks
from sana_stream.errors import ConfigError

from ..session.test_session import take


def test_a_compiled_stream_equals_an_eager_one(tiny_folder: Path, tiny_engine: Engine):
    """The traced graph, run without code generation, over both block shapes and a switch."""
    engine = Engine.load(tiny_folder, device="cpu", dtype="float32")
    compile_networks(engine, backend="aot_eager")
    runs = []
    for each in (engine, tiny_engine):
        session = each.session("a red boat", memory="window=2,sink=1")
        blocks = take(session, 3)
        session.switch("night falls")
        runs.append(blocks + take(session, 1))
    for compiled, eager in zip(*runs, strict=True):
        error = (compiled.latents - eager.latents).norm() / eager.latents.norm()
        assert error < 1e-4


def test_generated_code_equals_eager_code(tiny_folder: Path, tiny_engine: Engine):
    engine = Engine.load(tiny_folder, device="cpu", dtype="float32")
    compile_networks(engine)
    compiled, eager = (take(e.session("a red boat"), 1)[0] for e in (engine, tiny_engine))
    assert (compiled.latents - eager.latents).norm() / eager.latents.norm() < 1e-4


def test_a_machine_without_a_compiler_is_told(tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch):
    import torch._inductor.cpp_builder as builder
    from torch._inductor.exc import InvalidCxxCompiler

    def none() -> str:
        raise InvalidCxxCompiler

    monkeypatch.setattr(builder, "get_cpp_compiler", none)
    with pytest.raises(ConfigError, match="install g\\+\\+ or clang"):
        compile_networks(tiny_engine)
    assert isinstance(tiny_engine.transformer, torch.nn.Module)
