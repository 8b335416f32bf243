"""Inputs and targets of a training step: noise levels, captions, past, guidance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from storybook.world import Scene
from training.blocks import Layout, RowCaptions
from training.clips import LatentClip
from training.networks import CONFIG, Networks
from training.optimizer import Optimizer
from training.step import AT_TIMESTEPS, SHOWS_MOMENT, TIMESTEPS, Captions, Step, _weights

BLOCKS, FRAMES = 3, 13
RED = Scene("day", "sea", "clear", "boat", "red")
BLUE = Scene("night", "hills", "snow", "fox", "blue")


@pytest.fixture(scope="module")
def step() -> Step:
    torch.manual_seed(0)
    return Step(Networks(), np.random.default_rng(0), BLOCKS)


def _clip(*scenes: Scene, switch: int = BLOCKS) -> LatentClip:
    latents = torch.randn(CONFIG.in_channels, FRAMES, 2, 4)
    mask = torch.zeros(FRAMES, 2, 4, dtype=torch.uint8)
    mask[:, 0, 0] = 255
    return LatentClip(latents, mask, scenes, switch)


def test_noise_levels_are_mostly_stream_timesteps(step: Step) -> None:
    sigma = step._sigmas(500, 6)
    levels = torch.tensor(TIMESTEPS) / 1000
    at_level = torch.isin(sigma, levels)
    assert sigma.min() > 0
    assert sigma.max() <= 1
    assert at_level.float().mean() == pytest.approx(AT_TIMESTEPS, abs=0.04)
    assert set(sigma[at_level].tolist()) == set(levels.tolist())


def test_block_before_switch_is_committed_under_new_caption(step: Step) -> None:
    captions, scenes = step._captions([_clip(RED), _clip(RED, BLUE, switch=2)])
    assert scenes == [RED, RED, BLUE]
    assert len(captions.embeds) == 3
    which = captions.obeyed(step.layouts[BLOCKS]).which
    clean, noisy = [5, 4], [4, 4]  # latent frames of the blocks of each kind
    assert which[0].tolist() == [0] * sum(clean + 2 * noisy)
    assert which[1].tolist() == [1] * 5 + [2] * 4 + 2 * ([1] * 4 + [2] * 4)


def test_error_weights_are_larger_on_the_subject() -> None:
    weight = _weights([_clip(RED)])
    assert weight[0, :, 0, 0].tolist() == [7.0] * FRAMES
    assert weight[0, :, 1, 1].tolist() == [1.0] * FRAMES


def test_rollout_of_exact_model_reproduces_the_past(
    step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    x0 = torch.stack([_clip(RED).latents, _clip(BLUE).latents])
    calls: list[tuple[int, float]] = []

    def exact(
        past: Tensor, noisy: Tensor, sigma: Tensor, _words: RowCaptions, layout: Layout
    ) -> Tensor:
        torch.testing.assert_close(past[:, :, : layout.clean], x0[:, :, : layout.clean])
        calls.append((int(layout.block[-1]), float(sigma[0, 0])))
        return (noisy - x0[:, :, layout.noisy]) / sigma[:, None, :, None, None]

    monkeypatch.setattr(step, "_velocities", exact)
    past = x0.clone()
    past[:, :, 5:] = 0  # not generated yet
    generated = step._rolled_out(x0, past, _captions())
    torch.testing.assert_close(generated[:, :, :9], x0[:, :, :9], rtol=1e-4, atol=1e-4)
    levels = [t / 1000 for t in TIMESTEPS]
    first, second = ([level for b, level in calls if b == block] for block in (0, 1))
    assert first == pytest.approx(levels[-len(first) :])
    assert second == pytest.approx(levels)
    for _ in range(20):  # the first block starts from noised truth that shows its moment
        calls.clear()
        step._rolled_out(x0, past, _captions())
        assert calls[0][1] <= SHOWS_MOMENT / 1000


def test_training_steps_lower_the_loss() -> None:
    torch.manual_seed(0)
    networks = Networks()
    step = Step(networks, np.random.default_rng(0), BLOCKS)
    names = [n for n, p in networks.named_parameters() if p.ndim == 2 and "layers" in n]
    optimizer = Optimizer(networks, names)
    clips = [_clip(RED), _clip(RED, BLUE, switch=2)]
    losses = []
    for _ in range(16):
        loss = step.loss(clips)
        loss.backward()
        optimizer.step(1.0)
        losses.append(float(loss.detach()))
    assert np.mean(losses[-4:]) < 0.93 * np.mean(losses[:4])


def _captions() -> Captions:
    """Create captions of two clips without a switch."""
    which = torch.tensor([[0], [1]])
    return Captions(torch.randn(2, 5, 8), torch.ones(2, 5), which, torch.full((2, 1), 10**6))
