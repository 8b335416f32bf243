"""The block plan covers every frame once, in whole numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_stream.engine.block import BlockPlan
from sana_stream.errors import ConfigError

plans = st.builds(BlockPlan, st.integers(1, 50), st.sampled_from([1, 4, 8]))


@given(plan=plans, index=st.integers(0, 10**7))
def test_blocks_follow_each_other_without_gap_or_overlap(plan: BlockPlan, index: int):
    here, following = plan.block(index), plan.block(index + 1)
    assert here.start + here.frames == following.start
    assert here.latent_start + here.latent_frames == following.latent_start


@given(plan=plans, index=st.integers(0, 10**7))
def test_pictures_are_those_of_a_causal_autoencoder(plan: BlockPlan, index: int):
    block = plan.block(index)
    through = block.latent_start + block.latent_frames
    assert block.start + block.frames == 1 + (through - 1) * plan.temporal_factor


@given(plan=plans, frames=st.integers(1, 10**6))
def test_blocks_for_is_the_least_number_that_holds_the_frames(plan: BlockPlan, frames: int):
    count = plan.blocks_for(frames)
    last = plan.block(count - 1)
    assert last.start < frames <= last.start + last.frames


def test_published_block_is_41_then_40_pictures():
    plan = BlockPlan(10)
    assert [plan.block(i).frames for i in range(3)] == [41, 40, 40]
    assert [plan.block(i).latent_frames for i in range(3)] == [11, 10, 10]
    assert plan.blocks_for(960) == 24


def test_empty_blocks_are_refused():
    with pytest.raises(ConfigError, match="1 latent frame or more"):
        BlockPlan(0)
