from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_stream.engine.block import BlockPlan
from sana_stream.engine.story.story import Cue
from sana_stream.engine.story.timeline import Timeline, frame_count
from sana_stream.errors import ConfigError


@pytest.mark.parametrize(
    ("seconds", "fps", "frames"),
    [(60, 16, 960), (0.1, 30, 3), (0.7, 10, 7), (600, 16, 9600), (0.05, 16, 1), (1, 24.5, 24)],
)
def test_frame_count_is_exact(seconds: float, fps: float, frames: int) -> None:
    assert frame_count(seconds, fps) == frames


def test_frame_count_of_broadcast_rates_is_exact() -> None:
    assert frame_count(60, Fraction(30000, 1001)) == 1798


@pytest.mark.parametrize("seconds", [0, -1, 0.01, math.nan, math.inf])
def test_frame_count_below_one_frame_raises(seconds: float) -> None:
    with pytest.raises(ConfigError, match="video of"):
        frame_count(seconds, 16)


def timeline(*starts: float, fps: float = 16) -> Timeline:
    return Timeline(tuple(Cue(start, f"p{n}") for n, start in enumerate(starts)), fps)


def test_prompt_takes_effect_at_first_block_after_its_time() -> None:
    plan = BlockPlan(4)  # blocks start at frames 0, 17, 33, 49, 65, ...
    placed = timeline(0, 17 / 16, 2, 4).place(plan, None)
    assert [(p.block, p.frame) for p in placed] == [(0, 0), (1, 17), (2, 33), (4, 65)]


def test_placement_of_prompt_never_shown_is_none() -> None:
    plan = BlockPlan(4)
    placed = timeline(0, 0.1, 0.2, 3.9).place(plan, 64)
    assert [p.frame for p in placed] == [0, None, 17, None]


@given(
    st.integers(1, 12),
    st.lists(st.integers(1, 40_000), max_size=8, unique=True),
    st.sampled_from([8, 16, 24, 23.976]),
)
def test_placement_agrees_with_prompt_at(block_frames: int, millis: list[int], fps: float) -> None:
    plan = BlockPlan(block_frames)
    line = timeline(0, *(t / 1000 for t in sorted(millis)), fps=fps)
    frames = frame_count(30, fps)
    shown: list[tuple[str, int, int]] = []
    index = 0
    while (block := plan.block(index)).start < frames:
        prompt = line.prompt_at(block.start)
        if not shown or shown[-1][0] != prompt:
            shown.append((prompt, block.index, block.start))
        index += 1
    placed = [p for p in line.place(plan, frames) if p.block is not None]
    assert [(p.cue.prompt, p.block, p.frame) for p in placed] == shown


@given(st.integers(0, 10**6), st.sampled_from([10, 16, 24, 25, 30]))
def test_formatted_frame_time_maps_to_its_frame(frame: int, fps: int) -> None:
    line = timeline(0, round(frame / fps, 3), fps=fps)
    assert line.frame(line.cues[1]) == frame


def test_next_cue_is_first_after_the_frame() -> None:
    line = timeline(0, 1, 2)
    assert line.next_cue(0) == line.cues[1]
    assert line.next_cue(16) == line.cues[2]
    assert line.next_cue(32) is None
