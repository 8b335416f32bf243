"""The detector of doubled subjects learns from rendered frames that have one subject or two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.doubles import load_detector, rendered_pairs, single_and_double
from storybook.scenes import SceneRenderer
from storybook.world import HEIGHT, SUBJECTS, WIDTH, Scene

SCENE = Scene("day", "hills", "clear", "kite", "red")


@pytest.mark.parametrize("subject", SUBJECTS)
def test_doubled_frame_has_more_of_the_subject_than_the_single_one(subject: str) -> None:
    scene = replace(SCENE, subject=subject, place="desert", time="night")
    rng = np.random.default_rng(3)
    for _ in range(3):
        single, double = single_and_double(scene, rng)
        assert single.shape == double.shape == (HEIGHT, WIDTH, 3)
        changed = (single.astype(int) - double).any(axis=-1).sum()
        mask = SceneRenderer(scene).frame(0.0)[1] > 128
        assert changed > 0.3 * mask.sum()


def test_pairs_alternate_and_are_deterministic() -> None:
    frames, truth = rendered_pairs(2, seed=1)
    again, _ = rendered_pairs(2, seed=1)
    assert truth.tolist() == [False, True, False, True]
    np.testing.assert_array_equal(frames, again)


def test_detector_is_trained_once_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "doubles.pt"
    trained = load_detector(file, count=40, rounds=2)
    kept = load_detector(file, count=0)
    for one, other in zip(trained.parameters(), kept.parameters(), strict=True):
        assert torch.equal(one, other)
    assert kept.doubled(np.zeros((3, HEIGHT, WIDTH, 3), np.uint8)).shape == (3,)
