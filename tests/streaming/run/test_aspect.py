"""A run's size from its aspect ratio: resolved once, stored as a size, reported once."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.sizes import PublishedSize
from sana_stream.errors import ConfigError
from sana_stream.streaming.run.config import RunConfig
from sana_stream.streaming.run.runner import Run
from sana_stream.streaming.run.stored import run_to_json

from ...command import pictures, run

SIZES = (PublishedSize(0.5, 32, 64), PublishedSize(1.0, 48, 48))


@pytest.fixture
def trained(tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The tiny model, as if it had been trained with `SIZES`."""
    monkeypatch.setattr(tiny_engine, "preset", replace(tiny_engine.preset, sizes=SIZES))
    return tiny_engine


def test_aspect_equals_its_size(tiny_engine: Engine, tmp_path: Path):
    """The stored run has the size, so that every version can resume it."""
    target = str(tmp_path / "a.mkv")
    plain = RunConfig("a red boat", [target], frames=9, directed=False)
    configs = replace(plain, aspect="1:1"), replace(plain, size=(32, 32))
    plans = [Run(tiny_engine, config).plan for config in configs]
    assert [(plan.width, plan.height) for plan in plans] == [(32, 32)] * 2
    stored = [run_to_json(plan) for plan in plans]
    assert stored[0] == stored[1]
    assert "aspect" not in stored[0]["options"]
    assert stored[0]["options"]["size"] == [32, 32]


@pytest.mark.parametrize(
    ("size", "notes"),
    [
        ({}, 0),
        ({"size": (64, 32)}, 0),
        ({"size": (64, 48)}, 1),
        ({"aspect": "2:1"}, 0),
        ({"aspect": "5:1"}, 1),
    ],
)
def test_other_sizes_are_reported_once(
    trained: Engine, caplog: pytest.LogCaptureFixture, size: dict[str, object], notes: int
):
    with caplog.at_level(logging.WARNING, "sana_stream.streaming"):
        Run(trained, RunConfig("a red boat", ["a.mkv"], frames=9, **size))  # type: ignore[arg-type]
    found = [line for line in caplog.messages if "not trained" in line or "nearest size" in line]
    assert len(found) == notes


def test_size_and_aspect_exclude_each_other(tiny_engine: Engine):
    config = RunConfig("a red boat", ["a.mkv"], size=(32, 32), aspect=1)
    with pytest.raises(ConfigError, match="size and aspect are both given"):
        Run(tiny_engine, config)
    with pytest.raises(ConfigError, match="is not an aspect ratio"):
        RunConfig("a red boat", aspect="wide")
    with pytest.raises(ConfigError, match="aspect is the checkpoint's in a branch"):
        Run.branch(tiny_engine, "b.mp4", outputs=["c.mp4"], aspect="1:1")


def test_command_line_takes_an_aspect_ratio(
    tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str]
):
    words = (*tiny, "--prompt", "a red boat", "--frames", "5", "--out", "a.mkv")
    assert run(*words, "--aspect", "1:1") == 0
    assert pictures("a.mkv").shape == (5, 32, 32, 3)
    capfd.readouterr()
    for more in (("--aspect", "1:1", "--size", "32x32"), ("--aspect", "x")):
        assert run(*words, "--overwrite", *more) == 2
        assert capfd.readouterr().err.count("\n") == 1


def test_server_takes_an_aspect_ratio(capfd: pytest.CaptureFixture[str]):
    assert run("serve", "--aspect", "1:1", "--size", "32x32") == 2
    assert "not allowed with argument" in capfd.readouterr().err
