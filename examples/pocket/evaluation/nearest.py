"""Distance of a frame to the rendered world: errors against the nearest frame that can be drawn.

The world is small enough for an exhaustive search over the quarters of a second of two cycles.
Blurred, doubled or incomplete frames are far from all of them.
"""

from __future__ import annotations

import numpy as np

from storybook.motion import CYCLE
from storybook.scenes import SceneRenderer
from storybook.world import Scene

QUARTERS = np.arange(0, 2 * CYCLE, 0.25)  # seconds: clouds have a period of two cycles


def nearest(frame: np.ndarray, scene: Scene) -> tuple[float, float]:
    """Mean squared errors of a frame, values in [0, 1], overall and inside the subject.

    `frame` is uint8 (H, W, 3). Both errors are against the rendered frame of the scene for which
    their sum is smallest.
    """
    values = frame.astype(np.float32) / 255
    errors = []
    renderer = SceneRenderer(scene)
    for seconds in QUARTERS:
        truth, mask = renderer.frame(float(seconds))
        error = np.square(values - truth.astype(np.float32) / 255).mean(axis=2)
        errors.append((float(error.mean()), float(error[mask > 128].mean())))
    return min(errors, key=sum)
