"""Compiled networks give the results of uncompiled ones."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from sana_stream.engine.engine import Engine
from sana_stream.engine.performance.compile import compile_networks
from sana_stream.errors import ConfigError
from sana_stream.models import fp8

from ...programs import needs
from ...tiny_model import save_tiny_model
from ..session.test_image_cuts import PICTURE
from ..session.test_session import take

LOGGER = compile_networks.__module__
WORDS = "a red boat sails over the blue sea"
LENGTHS = [" ".join((WORDS + " " + WORDS).split()[:count]) for count in range(1, 11)]


def test_compiled_stream_equals_an_eager_one(tiny_folder: Path, tiny_engine: Engine):
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads longer prompts than the tiny one."""
    return save_tiny_model(tmp_path_factory.mktemp("long"), {"max_text_tokens": 24})


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[torch.Tensor]:
    """Latents of the long story, uncompiled."""
    return long_story(Engine.load(folder, device="cpu", dtype="float32"))


@pytest.fixture
def compiled(folder: Path) -> Engine:
    """An engine whose layers are traced and run without code generation."""
    torch._dynamo.reset()
    counters.clear()
    engine = Engine.load(folder, device="cpu", dtype="float32")
    compile_networks(engine, backend="eager")
    return engine


def long_story(engine: Engine) -> list[torch.Tensor]:
    """Generate blocks under prompts of ten lengths, with guidance, and a cut to an image."""
    session = engine.session(LENGTHS[0], seed=3, guidance=2.0, negative_prompt="rain")
    blocks = []
    for prompt in LENGTHS:
        session.switch(prompt)
        blocks += take(session, 1)
    session.cut(PICTURE, "night falls over the sea")
    return [block.latents for block in blocks + take(session, 2)]


def close(these: list[torch.Tensor], those: list[torch.Tensor]) -> bool:
    pairs = zip(these, those, strict=True)
    return all((a - b).norm() < 1e-4 * b.norm() for a, b in pairs)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings about compiling."""
    return [record.getMessage() for record in caplog.records if record.name == LOGGER]


def test_every_prompt_length_and_start_runs_in_two_forms_of_a_layer(
    compiled: Engine, expected: list[torch.Tensor], caplog: pytest.LogCaptureFixture
):
    prompts = (*LENGTHS, "rain")
    assert len({int(compiled.encode_prompt(prompt)[1].sum()) for prompt in prompts}) >= 10
    with caplog.at_level(logging.WARNING):
        latents = long_story(compiled)
    assert counters["stats"]["unique_graphs"] == 2
    assert not counters["graph_break"]
    assert not warnings(caplog)
    assert close(latents, expected)


def test_fp8_layers_compile_like_others(compiled: Engine, monkeypatch: pytest.MonkeyPatch):
    """The last layer has forms of its own: the norm after it is not quantized."""
    monkeypatch.setattr(fp8, "MULTIPLE", 1)  # a tiny model's sides
    calls = compiled.transformer_calls
    compiled.quantize("fp8", None)
    blocks = take(compiled.session(WORDS, seed=3), 2)
    assert counters["stats"]["unique_graphs"] == 4
    assert not counters["graph_break"]
    compiled.transformer_calls = compiled.transformer
    for layer in compiled.transformer.layers:
        del layer.forward  # the compiled one
    plain = take(compiled.session(WORDS, seed=3), 2)
    compiled.transformer_calls = calls
    for own, other in zip(blocks, plain, strict=True):
        assert (own.latents - other.latents).norm() < 2e-2 * other.latents.norm()


def test_more_forms_than_torch_allows_run_uncompiled_with_one_warning(
    compiled: Engine, expected: list[torch.Tensor], caplog: pytest.LogCaptureFixture
):
    with torch._dynamo.config.patch(recompile_limit=1), caplog.at_level(logging.WARNING):
        latents = long_story(compiled)
    assert counters["stats"]["unique_graphs"] == 1
    assert ["uncompiled" in message for message in warnings(caplog)] == [True]
    assert close(latents, expected)


def test_layer_that_cannot_be_compiled_runs_uncompiled_with_one_warning(
    folder: Path, expected: list[torch.Tensor], caplog: pytest.LogCaptureFixture
):
    def broken(*_: object) -> None:
        raise ValueError("this backend compiles nothing")

    torch._dynamo.reset()
    engine = Engine.load(folder, device="cpu", dtype="float32")
    compile_networks(engine, backend=broken)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        latents = long_story(engine)
    assert ["compiles nothing" in message for message in warnings(caplog)] == [True]
    assert close(latents, expected)


@needs("g++")
def test_generated_code_equals_eager_code(tiny_folder: Path, tiny_engine: Engine):
    engine = Engine.load(tiny_folder, device="cpu", dtype="float32")
    compile_networks(engine)
    compiled, eager = (take(e.session("a red boat"), 1)[0] for e in (engine, tiny_engine))
    assert (compiled.latents - eager.latents).norm() / eager.latents.norm() < 1e-4


def test_missing_compiler_is_reported(tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch):
    import torch._inductor.cpp_builder as builder
    from torch._inductor.exc import InvalidCxxCompiler

    def none() -> str:
        raise InvalidCxxCompiler

    monkeypatch.setattr(builder, "get_cpp_compiler", none)
    with pytest.raises(ConfigError, match="install g\\+\\+ or clang"):
        compile_networks(tiny_engine)
    assert isinstance(tiny_engine.transformer, torch.nn.Module)
