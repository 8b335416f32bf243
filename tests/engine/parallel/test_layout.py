"""How a stream's work is divided: the rule, the ways that can be asked for, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_stream.engine.parallel.layout import Layout, check_layout, choose_layout, spans
from sana_stream.engine.parallel.world import World, check_count, check_one_process, launched_world
from sana_stream.errors import ConfigError


@pytest.mark.parametrize(
    ("devices", "guided", "layout"),
    [
        (1, True, Layout()),
        (2, True, Layout(guidance=2)),
        (2, False, Layout(frames=2)),
        (3, True, Layout(guidance=2, decoder=True)),
        (3, False, Layout(frames=2, decoder=True)),
        (4, True, Layout(guidance=2, frames=2)),
        (4, False, Layout(frames=2, rows=2)),
        (8, False, Layout(rows=8)),
    ],
)
def test_default_layout_of_2b_at_480p(devices: int, guided: bool, layout: Layout) -> None:
    assert choose_layout(devices, None, guided, 10, 30) == layout


@pytest.mark.parametrize(
    ("parallel", "devices", "layout"),
    [
        ("guidance", 4, Layout(guidance=2, frames=2)),
        ("decoder", 2, Layout(decoder=True)),
        ("decoder", 4, Layout(frames=3, decoder=True)),
        ("frames", 4, Layout(frames=4)),
        ("rows", 2, Layout(rows=2)),
        ("3x2", 6, Layout(frames=3, rows=2)),
    ],
)
def test_way_that_is_asked_for(parallel: str, devices: int, layout: Layout) -> None:
    assert choose_layout(devices, parallel, parallel == "guidance", 10, 30) == layout


@pytest.mark.parametrize(
    ("devices", "parallel", "message"),
    [
        (4, "frames", "4 devices cannot divide 3 latent frames a block .* give 1 to 3 devices"),
        (3, "rows", "3 devices cannot divide 2 token rows"),
        (2, "guidance", "needs guidance other than 1"),
        (1, "frames", "needs 2 or more devices"),
        (3, "2x2", 'parallel="2x2" takes 4 devices, 3 are given'),
        (2, "heads", "is not known; use guidance, decoder, frames, rows or FRAMESxROWS"),
        (65, None, "devices 65: give 1 to 64"),
        (32, None, "cannot be divided among 32 devices"),
    ],
)
def test_impossible_division_is_refused(devices: int, parallel: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_layout(devices, parallel, False, 3, 2)


def test_model_with_softmax_attention_is_not_divided_by_tokens() -> None:
    check_layout(Layout(guidance=2, decoder=True), "a clip model", False)
    with pytest.raises(ConfigError, match="a clip model cannot be divided over frames or rows"):
        check_layout(Layout(rows=2), "a clip model", False)
    with pytest.raises(ConfigError, match="fp8 cannot be divided over frames or rows"):
        check_layout(Layout(frames=2), "a model", True, "fp8")


@given(st.integers(1, 64), st.booleans(), st.integers(1, 40), st.integers(1, 60))
def test_every_layout_uses_each_device_and_leaves_none_idle(
    devices: int, guided: bool, frames: int, rows: int
) -> None:
    try:
        layout = choose_layout(devices, None, guided, frames, rows)
    except ConfigError:
        return
    assert layout.devices == devices
    assert layout.frames <= frames
    assert layout.rows <= rows


@given(st.integers(1, 200), st.integers(1, 64))
def test_spans_cover_everything_once_and_nearly_evenly(total: int, parts: int) -> None:
    ranges = spans(total, parts)
    assert [n for first, end in ranges for n in range(first, end)] == list(range(total))
    sizes = [end - first for first, end in ranges]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


def test_launcher_is_recognized(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launched_world({}) is None
    check_one_process("serve")
    torchrun = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "host", "MASTER_PORT": "1"}
    assert launched_world(torchrun) == World(1, 2, 1, "host")
    assert launched_world(torchrun | {"RANK": "0", "WORLD_SIZE": "1"}) is None
    with pytest.raises(ConfigError, match="RANK=2 and WORLD_SIZE=2 are no rank and size"):
        launched_world(torchrun | {"RANK": "2"})
    for name, value in torchrun.items():
        monkeypatch.setenv(name, value)
    assert check_count(None) == 2
    with pytest.raises(ConfigError, match="devices=3 is given, and torchrun has started 2"):
        check_count(3)
    with pytest.raises(ConfigError, match="serve runs in one process, torchrun has started 2"):
        check_one_process("serve")
