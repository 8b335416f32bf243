"""The detector of doubled subjects learns from rendered frames that have one subject or two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.doubles import GRID, load_detector, rendered_pairs, single_and_double
from storybook.scenes import SceneRenderer
from storybook.world import HEIGHT, SUBJECTS, WIDTH, Scene

SCENE = Scene("day", "hills", "clear", "kite", "red")


@pytest.mark.parametrize("subject", SUBJECTS)
def test_doubled_frame_shows_the_subject_in_a_second_place(subject: str) -> None:
    renderer = SceneRenderer(replace(SCENE, subject=subject, place="desert", size="near"))
    rng = np.random.default_rng(3)
    for _ in range(4):
        single, double = single_and_double(renderer, rng)
        assert single.frame.shape == double.frame.shape == (HEIGHT, WIDTH, 3)
        assert (single.frame != double.frame).any(axis=-1).sum() > 1000
        (first,), (same, other) = single.middles, double.middles
        assert same == first
        assert abs(other[0] - first[0]) > 20


def test_targets_mark_the_middle_of_each_subject() -> None:
    single, double = rendered_pairs(1, seed=1)
    for example in (single, double):
        target = example.target()
        assert target.shape == GRID
        for x, y in example.middles:
            cell = target[int(y * GRID[0] / HEIGHT), int(x * GRID[1] / WIDTH)]
            assert cell > 0.75


def test_pairs_are_deterministic() -> None:
    for one, other in zip(rendered_pairs(4, seed=1), rendered_pairs(4, seed=1), strict=True):
        np.testing.assert_array_equal(one.frame, other.frame)


def test_detector_is_trained_once_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "doubles.pt"
    trained = load_detector(file, count=16, rounds=2)
    kept = load_detector(file, count=1)
    for one, other in zip(trained.parameters(), kept.parameters(), strict=True):
        assert torch.equal(one, other)
    assert kept.doubled(np.zeros((3, HEIGHT, WIDTH, 3), np.uint8)).shape == (3,)
