"""A small random SANA-Video 2.0, of 50 steps and of four, with its parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from sana_stream.engine.engine import Engine

from ...hybrid_model import save_hybrid_model, save_hybrid_parts


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_hybrid_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_hybrid_model(tmp_path_factory.mktemp("base") / "SANA_Video_2.0_5B_720p.pth")


@pytest.fixture(scope="session")
def four_step_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("four")
    return save_hybrid_model(folder / "SANA_Video_2.0_5B_720p_4step.pth", "state_dict_ema")


@pytest.fixture(scope="session")
def base(file: Path, parts: Path) -> Engine:
    return Engine.load(file, "cpu", "float32", parts=parts)


@pytest.fixture(scope="session")
def four(four_step_file: Path, parts: Path) -> Engine:
    return Engine.load(four_step_file, "cpu", "float32", parts=parts)
