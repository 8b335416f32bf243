"""The attribute loss of captions."""

from __future__ import annotations

from math import log

import numpy as np
import torch

from storybook.world import draw_scene
from training.reading import LABELS, AttributeClassifiers


def test_attribute_loss_ignores_padding() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    readers, scene = AttributeClassifiers(8), draw_scene(rng)
    embeds, mask = torch.randn(1, 5, 8), torch.tensor([[1, 1, 1, 0, 0]])
    alone = readers.loss(embeds[:, :3], mask[:, :3], [scene])
    together = readers.loss(embeds, mask, [scene])
    torch.testing.assert_close(alone, together)


def test_attribute_loss_of_zero_weights_is_log_of_classes() -> None:
    readers, scene = AttributeClassifiers(8), draw_scene(np.random.default_rng(0))
    mask = torch.ones(1, 3)
    guess = sum(log(len(values)) for values in LABELS.values()) / len(LABELS)
    for parameter in readers.parameters():
        torch.nn.init.zeros_(parameter)
    assert abs(float(readers.loss(torch.randn(1, 3, 8), mask, [scene])) - guess) < 1e-5
