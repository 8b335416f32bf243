"""Settings of a stream, resolved once and handed to a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.inspect import inspect_model
from sana_stream.engine.session.settings import resolve_settings
from sana_stream.errors import ConfigError


def test_session_from_resolved_settings_is_the_same_stream(tiny_folder: Path, tiny_engine: Engine):
    info = inspect_model(tiny_folder)
    given: dict[str, Any] = {"seed": 3, "height": 32, "width": 48, "steps": 2}
    settings = resolve_settings(info.preset, info.size_multiple, **given)
    mine = next(tiny_engine.session("a fox", settings=settings))
    usual = next(tiny_engine.session("a fox", **given))
    assert np.array_equal(mine.frames, usual.frames)


def test_image_start_uses_its_own_solver(tiny_engine: Engine):
    image = np.zeros((32, 48, 3), np.uint8)
    preset = tiny_engine.preset
    settings = resolve_settings(preset, tiny_engine.size_multiple, height=32, width=48, steps=2)
    mine = tiny_engine.session("a fox", settings=settings, image=image).snapshot()
    usual = tiny_engine.session("a fox", height=32, width=48, steps=2, image=image).snapshot()
    assert mine.settings == usual.settings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"height": 33}, "does not fit this model"),
        ({"guidance": -1}, "guidance -1 is negative"),
        ({"guidance": 1001}, "guidance 1001 is out of range"),
        ({"memory": "all"}, "all"),
        ({"steps": 4, "timesteps": (1000, 500)}, "leave one of them out"),
        ({"block_frames": 0}, "block_frames 0"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_settings_are_refused_without_a_loaded_model(
    tiny_folder: Path, given: dict[str, Any], message: str
):
    info = inspect_model(tiny_folder)
    with pytest.raises(ConfigError, match=message):
        resolve_settings(info.preset, info.size_multiple, **given)


def test_settings_and_a_single_setting_are_refused(tiny_engine: Engine):
    settings = resolve_settings(tiny_engine.preset, tiny_engine.size_multiple)
    with pytest.raises(ConfigError, match="settings and width, seed are given"):
        tiny_engine.session("a fox", settings=settings, width=64, seed=1)
    with pytest.raises(ConfigError, match="give what resolve_settings returned"):
        tiny_engine.session("a fox", settings="fast")  # type: ignore[arg-type]


def test_engine_loads_from_an_inspected_model(
    tiny_folder: Path, tiny_engine: Engine, tmp_path: Path
):
    info = inspect_model(tiny_folder)
    engine = Engine.load(info, "cpu", "float32")
    assert engine.fingerprint.matches(tiny_engine.fingerprint)
    assert engine.size_multiple == info.size_multiple
    with pytest.raises(ConfigError, match="to inspect_model"):
        Engine.load(info, "cpu", "float32", parts=tmp_path)
