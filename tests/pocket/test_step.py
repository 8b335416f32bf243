"""What a training step asks: noise levels, captions around a switch, the past, the target."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from storybook.world import Scene
from training.blocks import Layout, Words
from training.clips import LatentClip
from training.networks import CONFIG, Networks
from training.optimizer import Optimizer
from training.step import AT_TIMESTEPS, GUIDED, TIMESTEPS, Step, _weights

BLOCKS, FRAMES = 2, 9
RED = Scene("day", "sea", "clear", "boat", "red")
BLUE = Scene("night", "hills", "snow", "fox", "blue")


@pytest.fixture(scope="module")
def step() -> Step:
    torch.manual_seed(0)
    return Step(Networks(), np.random.default_rng(0), BLOCKS)


def _clip(*scenes: Scene, switch: int = BLOCKS, beginning: bool = True) -> LatentClip:
    latents = torch.randn(CONFIG.in_channels, FRAMES, 2, 4)
    mask = torch.zeros(FRAMES, 2, 4, dtype=torch.uint8)
    mask[:, 0, 0] = 255
    return LatentClip(latents, mask, scenes, switch, beginning)


def test_noise_levels_are_mostly_those_of_a_stream(step: Step) -> None:
    sigma = step._sigmas(2, 500, BLOCKS)
    levels = torch.tensor(TIMESTEPS) / 1000
    at_level = torch.isin(sigma, levels)
    assert sigma.min() > 0
    assert sigma.max() <= 1
    assert at_level.float().mean() == pytest.approx(AT_TIMESTEPS, abs=0.04)
    assert set(sigma[at_level].tolist()) == set(levels.tolist())


def test_the_block_before_a_switch_is_committed_under_the_new_caption(step: Step) -> None:
    layout = step.layouts[BLOCKS]
    step.rng = np.random.default_rng(1)  # every caption told
    words, told = step._words([_clip(RED), _clip(RED, BLUE, switch=1)], layout, 2, 0.0)
    assert told == [RED, RED, BLUE]
    assert len(words.embeds) == 4  # and the empty one
    clean, *noisy = words.which
    assert clean.tolist() == [[0] * 9, [2] * 9]
    for stream in noisy:
        assert stream.tolist() == [[0] * 9, [1] * 5 + [2] * 4]


def test_subjects_count_more_and_context_not_at_all(step: Step) -> None:
    weight = _weights([_clip(RED), _clip(RED, beginning=False)], step.layouts[BLOCKS])
    assert weight[0, :, 0, 0].tolist() == [7.0] * 9
    assert weight[0, :, 1, 1].tolist() == [1.0] * 9
    assert weight[1, :, 1, 1].tolist() == [0.0] * 5 + [1.0] * 4


def test_a_perfect_model_guesses_the_past_as_it_was(
    step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    x0 = torch.stack([_clip(RED).latents, _clip(BLUE).latents])

    def exact(clean: Tensor, noisy: Tensor, sigma: Tensor, *_: object) -> Tensor:
        return (noisy - x0) / sigma[:, :, None, :, None, None]

    monkeypatch.setattr(step, "_velocities", exact)
    guess = step._guess(x0, x0, _words(), step.layouts[BLOCKS])
    torch.testing.assert_close(guess, x0, rtol=1e-4, atol=1e-4)


def test_guidance_leads_away_from_the_empty_caption(
    step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Words] = []

    def plain(_clean: object, noisy: Tensor, _sigma: object, words: Words, _layout: Layout):
        asked.append(words)
        return torch.full_like(noisy, 2.0)

    monkeypatch.setattr(step, "_velocities", plain)
    made = torch.full((2, 1, 3, FRAMES, 2, 4), 5.0)
    sigma = torch.ones(2, 1, FRAMES)
    added = step._guidance(made, made[0], made, sigma, _words(), step.layouts[BLOCKS])
    assert asked[0].which.unique().tolist() == [2]  # the last caption, which is empty
    torch.testing.assert_close(added, torch.full_like(made, 3 * GUIDED))


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_training_steps_lower_the_loss(share: float) -> None:
    torch.manual_seed(0)
    networks = Networks()
    step = Step(networks, np.random.default_rng(0), BLOCKS)
    names = [n for n, p in networks.named_parameters() if p.ndim == 2 and "layers" in n]
    optimizer = Optimizer(networks, names)
    clips = [_clip(RED), _clip(RED, BLUE, switch=1)]
    losses = []
    for _ in range(24):
        loss = step.loss(clips, share)
        loss.backward()
        optimizer.step(1.0)
        losses.append(float(loss.detach()))
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:4])


def _words() -> Words:
    return Words(
        torch.randn(3, 5, 8), torch.ones(3, 5), torch.zeros(3, 1, FRAMES, dtype=torch.long)
    )
