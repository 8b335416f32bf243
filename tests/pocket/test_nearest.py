"""Distance to the rendered world: zero for a rendered frame, larger for blurred or doubled ones."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from evaluation import nearest as module
from evaluation.nearest import nearest
from storybook.motion import Path
from storybook.scenes import SceneRenderer
from storybook.world import Scene

SCENE = Scene("day", "hills", "clear", "kite", "red")


@pytest.fixture(autouse=True)
def two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUARTERS", np.arange(0, 2, 0.5))


def _drawn(seconds: float, phase: float = 0.0) -> np.ndarray:
    return SceneRenderer(SCENE, Path(phase)).frame(seconds)[0]


def test_nearest_of_rendered_frame_is_zero() -> None:
    assert nearest(_drawn(1.5), SCENE) == (0.0, 0.0)


def test_nearest_of_blurred_frame_is_larger_inside_subject() -> None:
    soft = Image.fromarray(_drawn(1.5)).filter(ImageFilter.GaussianBlur(6))
    overall, inside = nearest(np.asarray(soft), SCENE)
    assert 0 < overall < inside


def test_nearest_of_doubled_subject_is_large() -> None:
    left, right = (_drawn(0, phase).astype(float) for phase in (-0.9, 0.0))
    doubled = ((left + right) / 2).astype(np.uint8)
    assert nearest(doubled, SCENE)[1] > 0.01
