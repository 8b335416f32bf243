"""Sizes of aspect ratios: those of diffusers' pipelines, and others of the same area."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from diffusers.pipelines.sana_video.pipeline_sana_video import (
    ASPECT_RATIO_480_BIN,
    ASPECT_RATIO_720_BIN,
)
from diffusers.video_processor import VideoProcessor
from hypothesis import given
from hypothesis import strategies as st

from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.presets import LONGSANA, SANA_480P, SANA_720P, preset_for
from sana_stream.engine.loading.sizes import (
    SIZES_480P,
    SIZES_720P,
    aspect_note,
    parse_aspect,
    size_for_aspect,
    size_note,
)
from sana_stream.engine.session.settings import resolve_settings
from sana_stream.errors import ConfigError
from sana_stream.models.config import TransformerConfig

BINS: dict[str, tuple[Any, Any]] = {
    "480p": (SIZES_480P, ASPECT_RATIO_480_BIN),
    "720p": (SIZES_720P, ASPECT_RATIO_720_BIN),
}


@pytest.mark.parametrize("name", BINS)
def test_tables_are_those_of_diffusers(name: str):
    sizes, bins = BINS[name]
    assert {str(size.ratio): [size.height, size.width] for size in sizes} == bins


@pytest.mark.parametrize("name", BINS)
@given(height=st.integers(1, 4000), width=st.integers(1, 4000))
def test_choice_is_that_of_diffusers(name: str, height: int, width: int):
    sizes, bins = BINS[name]
    wanted = VideoProcessor.classify_height_width_bin(height, width, bins)
    assert size_for_aspect(width / height, sizes, 1, (1, 1)) == wanted


@pytest.mark.parametrize(
    ("aspect", "preset", "size"),
    [
        ("16:9", SANA_480P, (480, 832)),
        ("9:16", SANA_480P, (832, 480)),
        ("1:1", LONGSANA, (624, 624)),
        ("16:9", SANA_720P, (704, 1280)),
        ("9:16", SANA_720P, (1280, 704)),
        (1.0, SANA_720P, (960, 960)),
    ],
)
def test_usual_ratios(aspect: str | float, preset: Any, size: tuple[int, int]):
    settings = resolve_settings(
        preset, (32, 32) if preset is SANA_720P else (16, 16), aspect=aspect
    )
    assert (settings.height, settings.width) == size


@pytest.mark.parametrize("preset", [SANA_480P, LONGSANA, SANA_720P], ids=lambda p: p.name)
def test_default_size_is_one_of_the_published(preset: Any):
    assert (preset.height, preset.width) in {(s.height, s.width) for s in preset.sizes}
    assert size_note(preset.sizes, preset.height, preset.width) is None
    assert "the nearest of its sizes is" in (size_note(preset.sizes, 64, 128) or "")


@given(
    aspect=st.floats(0.1, 10),
    height=st.integers(2, 60),
    width=st.integers(2, 60),
    multiple=st.sampled_from([(16, 16), (32, 32), (8, 16)]),
)
def test_unknown_models_keep_their_area(
    aspect: float, height: int, width: int, multiple: tuple[int, int]
):
    area = height * width * multiple[0] * multiple[1]
    found = size_for_aspect(aspect, (), area, multiple)
    exact = (area / aspect) ** 0.5, (area * aspect) ** 0.5
    for side, wanted, step in zip(found, exact, multiple, strict=True):
        assert side % step == 0
        assert side >= step
        assert abs(side - max(wanted, step)) <= step / 2 + 1e-6


@pytest.mark.parametrize(
    ("given", "ratio"),
    [
        ("16:9", 16 / 9),
        ("9/16", 9 / 16),
        ("1.78", 1.78),
        ("2.39:1", 2.39),
        (" 4 : 3 ", 4 / 3),
        (2, 2),
    ],
)
def test_ratio_is_parsed(given: Any, ratio: float):
    assert parse_aspect(given) == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        *((bad, "is not an aspect ratio") for bad in ("", "wide", "16x9", "-1", "1:2:3", "nan")),
        *((bad, "is not an aspect ratio") for bad in (None, True, (16, 9), b"1")),
        *((bad, "give 20:1 to 1:20") for bad in ("0", "1:0", "0:1", "21:1", 0.01)),
        (float("nan"), "aspect"),
    ],
)
def test_other_ratios_are_refused(given: Any, message: str):
    with pytest.raises(ConfigError, match=message):
        parse_aspect(given)


def test_far_ratio_is_reported():
    assert aspect_note(16 / 9, 480, 832) is None
    assert "aspect 4" in (aspect_note(4, 448, 896) or "")


def test_session_takes_an_aspect_ratio(tiny_engine: Engine):
    """Of 48x32 pixels; the tokens have 16x16."""
    frames = next(tiny_engine.session("a red boat", aspect="1:1")).frames
    assert frames.shape[1:3] == (32, 32)
    with pytest.raises(ConfigError, match="aspect and a size are given"):
        tiny_engine.session("a red boat", height=32, aspect="1:1")


def test_sizes_of_stream_json(tmp_path: Path):
    (tmp_path / "stream.json").write_text(
        '{"height": 32, "sizes": [{"ratio": 0.5, "height": 32, "width": 64}]}'
    )
    preset = preset_for(tmp_path, "x", TransformerConfig())
    settings = resolve_settings(preset, (16, 16), aspect="1:1")
    assert (settings.height, settings.width) == (32, 64)
