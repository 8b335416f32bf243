"""The attribute loss of captions, and captions without a scene."""

from __future__ import annotations

from math import log

import numpy as np
import torch

from storybook.world import ATTRIBUTES, draw_scene
from training.reading import AttributeClassifiers


def test_attribute_loss_ignores_padding_and_empty_captions() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    readers, scene = AttributeClassifiers(8), draw_scene(rng)
    embeds, mask = torch.randn(2, 5, 8), torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    alone = readers.loss(embeds[:1, :3], mask[:1, :3], [scene])
    together = readers.loss(embeds, mask, [scene, None])
    torch.testing.assert_close(alone, together)


def test_attribute_loss_of_zero_weights_is_log_of_classes() -> None:
    readers, scene = AttributeClassifiers(8), draw_scene(np.random.default_rng(0))
    mask = torch.ones(1, 3)
    guess = sum(log(len(values)) for values in ATTRIBUTES.values()) / len(ATTRIBUTES)
    for parameter in readers.parameters():
        torch.nn.init.zeros_(parameter)
    assert abs(float(readers.loss(torch.randn(1, 3, 8), mask, [scene])) - guess) < 1e-5


def test_attribute_loss_without_scenes_is_zero() -> None:
    readers = AttributeClassifiers(8)
    loss = readers.loss(torch.randn(2, 3, 8), torch.ones(2, 3), [None, None])
    loss.backward()
    assert float(loss) == 0
    assert all(not p.grad.any() for p in readers.parameters() if p.grad is not None)
