"""Schedule of the transformer's training, and resuming after the time budget."""

from __future__ import annotations

from pathlib import Path

import torch

from storybook.world import HEIGHT, WIDTH
from training import transformer
from training.clips import BLOCK_FRAMES, ClipPool
from training.networks import CONFIG
from training.transformer import Kind, Plan

SMALL = Kind(batch=2, first=2, grow=0)


def encode(frames: torch.Tensor) -> tuple[torch.Tensor, None]:
    """Encode frames to latents that all equal their mean."""
    batch, _, count, height, width = frames.shape
    shape = (batch, CONFIG.in_channels, 1 + (count - 1) // 4, height // 32, width // 32)
    return frames.mean().expand(shape), None


def test_plan_orders_pictures_blocks_and_longer_clips() -> None:
    plan = Plan(picture_until=0.2, short_until=0.4, short_every=4)
    assert {plan.kind(0.1, step) for step in range(8)} == {"picture"}
    assert {plan.kind(0.3, step) for step in range(8)} == {"short"}
    late = [plan.kind(0.5, step) for step in range(8)]
    assert late == ["short", "long", "long", "long"] * 2


def test_plan_further_has_longer_clips_sooner_at_lower_rates() -> None:
    plan = Plan().further()
    assert plan.picture_until < Plan().picture_until
    assert [plan.kind(0.5, step) for step in range(3)] == ["short", "long", "long"]
    assert 0 < plan.rate < Plan().rate


def test_clip_pool_generates_clips_of_given_blocks() -> None:
    for blocks, frames in ((0, 1), (1, 1 + BLOCK_FRAMES), (2, 1 + 2 * BLOCK_FRAMES)):
        pool = ClipPool(encode, None, blocks, seed=0)
        pool.grow()
        (clip,) = pool.clips
        assert clip.blocks == blocks
        assert clip.latents.shape == (CONFIG.in_channels, frames, HEIGHT // 32, WIDTH // 32)
        assert clip.mask.shape == clip.latents.shape[1:]


def test_train_after_spent_budget_takes_no_step(tmp_path: Path) -> None:
    plan = Plan(picture=SMALL, short=SMALL, long=SMALL)
    for _ in range(2):
        transformer.train(tmp_path, encode, 0.0005, plan)
        state = torch.load(tmp_path / "transformer.pt", weights_only=False)
        assert state["steps"] == 1
        assert torch.load(tmp_path / "captions.pt", weights_only=False)["steps"] == 1
