"""Labels teach the text encoder: the loss, and captions that tell of nothing."""

from __future__ import annotations

from math import log

import numpy as np
import torch

from storybook.world import ATTRIBUTES, draw_scene
from training.reading import Readers


def test_padding_and_untold_captions_do_not_count() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    readers, scene = Readers(8), draw_scene(rng)
    embeds, mask = torch.randn(2, 5, 8), torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    alone = readers.loss(embeds[:1, :3], mask[:1, :3], [scene])
    together = readers.loss(embeds, mask, [scene, None])
    torch.testing.assert_close(alone, together)


def test_readers_that_know_nothing_pay_for_a_guess() -> None:
    readers, scene = Readers(8), draw_scene(np.random.default_rng(0))
    mask = torch.ones(1, 3)
    guess = sum(log(len(values)) for values in ATTRIBUTES.values()) / len(ATTRIBUTES)
    for parameter in readers.parameters():
        torch.nn.init.zeros_(parameter)
    assert abs(float(readers.loss(torch.randn(1, 3, 8), mask, [scene])) - guess) < 1e-5


def test_no_caption_told_is_no_loss_and_no_nan() -> None:
    readers = Readers(8)
    loss = readers.loss(torch.randn(2, 3, 8), torch.ones(2, 3), [None, None])
    loss.backward()
    assert float(loss) == 0
    assert all(not p.grad.any() for p in readers.parameters() if p.grad is not None)
