"""How near a picture is to the world: decibels to the nearest picture that could be drawn.

The world is small enough to try: where a swing begins, the lie of the land, and every quarter of
a second of a cycle. What is soft, doubled or half there is near to none of them.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from storybook.land import LAYOUTS
from storybook.motion import CYCLE, PHASES, Path
from storybook.scenes import Painter
from storybook.world import Scene

QUARTERS = np.arange(0, 2 * CYCLE, 0.25)  # seconds: clouds take two cycles


def nearest(picture: np.ndarray, scene: Scene) -> tuple[float, float]:
    """Mean squared errors, pictures in [0, 1], overall and inside the subject.

    picture: uint8 (H, W, 3). Both against the rendered picture of the scene whose sum of the two
    is least.
    """
    seen = picture.astype(np.float32) / 255
    errors = []
    for phase, layout in product(PHASES, range(LAYOUTS)):
        painter = Painter(scene, Path(phase), layout)
        for seconds in QUARTERS:
            truth, mask = painter.frame(float(seconds))
            error = np.square(seen - truth.astype(np.float32) / 255).mean(axis=2)
            errors.append((float(error.mean()), float(error[mask > 128].mean())))
    return min(errors, key=sum)
