"""Fixtures: a small random checkpoint in the published layout, saved by diffusers' classes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.inspect import ModelInfo, inspect_model

from .programs import add_ffmpeg, hide_programs
from .tiny_model import save_tiny_model

# begun in the background or under nohup, tests and all that they start would ignore these signals
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# the models here are tiny: handing work to a second thread costs more than it brings
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start

# a busy machine must not make a test fail
settings.register_profile(
    "patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--hide-programs",
        action="store_true",
        help="run the tests marked `programs`, as on a machine without ffmpeg, players, browsers",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Prepare PATH before any test module is imported: some look for programs at import."""
    config.addinivalue_line("markers", "programs: starts programs, or looks for some")
    if config.getoption("--hide-programs"):
        hide_programs()
    else:
        add_ffmpeg()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no module without a test that `--hide-programs` runs."""
    module = config.getoption("--hide-programs") and collection_path.name.startswith("test_")
    return True if module and "mark.programs" not in collection_path.read_text("utf-8") else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--hide-programs"):
        others = [item for item in items if not item.get_closest_marker("programs")]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item.get_closest_marker("programs")]


@pytest.fixture(autouse=True)
def chance() -> None:
    """Seed the random generators before every test."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of a few hundred kilobytes with random weights."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_engine(tiny_folder: Path) -> Engine:
    """The tiny model loaded on the CPU in float32."""
    return Engine.load(tiny_folder, device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def tiny_info(tiny_folder: Path) -> ModelInfo:
    """What `inspect_model` says of the tiny model."""
    return inspect_model(tiny_folder)


@pytest.fixture
def inspected(tiny_folder: Path, tiny_info: ModelInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs take what is known of the tiny model's files instead of reading them again."""

    def inspect(model: str, *more: Any) -> ModelInfo:
        known = str(model) == str(tiny_folder) and not any(more)
        return tiny_info if known else inspect_model(model, *more)

    monkeypatch.setattr("sana_stream.engine.loading.inspect.inspect_model", inspect)


@pytest.fixture
def tiny(
    tmp_path: Path,
    tiny_folder: Path,
    tiny_engine: Engine,
    inspected: None,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[str, ...]:
    """Command-line options of the loaded tiny model; the current folder is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Engine, "load", lambda *_, **__: tiny_engine)
    return ("--model", str(tiny_folder))
