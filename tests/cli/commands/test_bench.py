"""The benchmark tells what it measured, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ...command import run


def test_json_figures_agree_with_each_other(tiny_folder: Path, capfd: pytest.CaptureFixture[str]):
    arguments = ("--model", tiny_folder, "--dtype", "float32", "--repeats", "2", "--json")
    assert run("bench", *arguments) == 0
    figures = json.loads(capfd.readouterr().out)
    assert (figures["width"], figures["height"], figures["pictures"]) == (48, 32, 8)
    parts = figures["commit"] + 4 * figures["denoise_call"] + figures["decode"]
    # medians of a few blocks, while the machine may do other things: the unit and the order
    assert 0.1 * parts < figures["block"] < 10 * parts
    assert set(figures["at_block"]) == {"10", "1000", "10000"}
    assert figures["cost"]["calls"] == 5
    fastest = min(figures["block"], figures["block_overlapped"])
    assert figures["frames_a_second"] == pytest.approx(8 / fastest)


def test_clip_is_timed_against_diffusers(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    from ...tiny_model import save_tiny_model

    model = save_tiny_model(tmp_path, {"width": 64})
    arguments = ("--model", model, "--dtype", "float32", "--repeats", "1")
    assert run("bench", *arguments, "--against", "diffusers") == 0
    told = capfd.readouterr()
    assert told.out == ""
    assert "in diffusers" in told.err


def test_random_shapes_have_nothing_to_compare_with(capfd: pytest.CaptureFixture[str]):
    assert run("bench", "--shapes", "pocket", "--against", "diffusers") == 2
    assert "use --model" in capfd.readouterr().err


def test_unknown_shapes_are_named(capfd: pytest.CaptureFixture[str]):
    assert run("bench", "--shapes", "9b") == 2
    assert "use 2b-480p, 2b-720p, pocket" in capfd.readouterr().err
