"""A detector of doubled subjects: two where the caption has one, side by side or half transparent.

It is trained on rendered scenes only. A doubled frame is made of two frames of one scene in which
the subject is in different places: their mean, or the one's subject drawn on the other.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from storybook.motion import Path as Swing
from storybook.motion import path_of
from storybook.scenes import SceneRenderer
from storybook.world import Scene, draw_scene

from .probe import augmented, convolutions, prepare

APART = 18.0  # least distance of two subjects, in units of the stage: less is a smear


class DoubleDetector(nn.Module):
    """Five convolutions and one linear layer, on frames of 64 x 112."""

    def __init__(self) -> None:
        super().__init__()
        self.features = convolutions()
        self.head = nn.Linear(128 * 8, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Compute logits (n,) from frames (n, 3, 64, 112) in [-1, 1]; positive is doubled."""
        return self.head(self.features(frames).flatten(1)).squeeze(1)

    @torch.no_grad()
    def doubled(self, frames: np.ndarray) -> np.ndarray:
        """Whether each of the frames uint8 (n, H, W, 3) shows its subject twice, bool (n,)."""
        return (self.eval()(prepare(frames)) > 0).numpy()


def single_and_double(scene: Scene, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Render a frame of a scene, uint8 (H, W, 3), and one in which its subject is doubled."""
    seconds = float(rng.uniform(0, 16))
    one = path_of(scene) if rng.random() < 0.5 else _any_swing(rng)
    other = one
    while abs(one.x(seconds) - other.x(seconds)) < APART:
        other = _any_swing(rng)
    first, _ = SceneRenderer(scene, one).frame(seconds)
    second, mask = SceneRenderer(scene, other).frame(seconds)
    share = np.float32(rng.uniform(0.3, 0.7))
    if rng.random() < 0.5:
        double = first * (1 - share) + second * share
    else:
        strength = mask[..., None] / np.float32(255) * np.float32(rng.uniform(0.5, 1.0))
        double = first * (1 - strength) + second * strength
    return first, double.astype(np.uint8)


def rendered_pairs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Render `count` frames of each kind: (n, H, W, 3), with n = 2 · count, and bool (n,)."""
    rng = np.random.default_rng(seed)
    pairs = [single_and_double(draw_scene(rng), rng) for _ in range(count)]
    return np.stack([frame for pair in pairs for frame in pair]), np.tile((False, True), count)


def detector_figures(detector: DoubleDetector, count: int = 300) -> dict[str, float]:
    """Share of rendered frames that are called doubled: of single ones, and of doubled ones."""
    frames, truth = rendered_pairs(count, seed=21)
    found = detector.doubled(frames)
    return {
        "detector, rendered single": float(found[~truth].mean()),
        "detector, rendered doubled": float(found[truth].mean()),
    }


def load_detector(file: Path, count: int = 2500, rounds: int = 10) -> DoubleDetector:
    """Load the detector from a file; train it and write the file if it does not exist."""
    detector = DoubleDetector()
    if file.exists():
        detector.load_state_dict(torch.load(file, weights_only=True))
        return detector.eval()
    torch.manual_seed(0)
    frames, truth = rendered_pairs(count, seed=20)
    data, labels = prepare(frames), torch.from_numpy(truth).float()
    optimizer = torch.optim.AdamW(detector.parameters(), 3e-3, weight_decay=0.02)
    steps = rounds * len(data) // 64
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, steps)
    for _ in range(steps):
        pick = torch.randint(len(data), (64,))
        loss = F.binary_cross_entropy_with_logits(
            detector.train()(augmented(data[pick])), labels[pick]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(detector.state_dict(), file)
    return detector.eval()


def _any_swing(rng: np.random.Generator) -> Swing:
    return Swing(float(rng.uniform(0, 2 * np.pi)))
