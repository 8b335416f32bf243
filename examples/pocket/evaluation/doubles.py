"""A detector of doubled subjects: two where the caption has one, side by side or half transparent.

A small network marks the middle of each subject on a grid; more than one mark is a doubled subject.
It is trained on rendered scenes only. A doubled frame is made of two frames of one scene in which
the subject is in different places: their mean, or the one's subject drawn on the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from storybook.motion import Path as Swing
from storybook.scenes import SceneRenderer
from storybook.world import HEIGHT, WIDTH, draw_scene

from .fitting import fit, load_or_train
from .probe import prepare

GRID = (16, 28)  # cells of marks, 16 x 16 pixels each
APART = 0.45  # two subjects are apart by this share of their width ...
FAR = 70.0  # ... or by this number of pixels
OF_A_SCENE = 3  # pairs rendered of each scene
MARK = 0.6  # least probability of a mark; at 0.5 too many single subjects have a second one


@dataclass(frozen=True, slots=True)
class Example:
    """A rendered frame uint8 (H, W, 3), and the middle of each of its subjects in pixels."""

    frame: np.ndarray
    middles: list[tuple[float, float]]  # (x, y)

    def target(self) -> Tensor:
        """A bell of one cell's width about each middle, float32 GRID."""
        rows, columns = (torch.arange(n) + 0.5 for n in GRID)
        bells = [
            torch.exp(
                -(
                    (columns - x * GRID[1] / WIDTH).square()
                    + (rows - y * GRID[0] / HEIGHT).square()[:, None]
                )
                / 2
            )
            for x, y in self.middles
        ]
        return torch.stack(bells).amax(0)


class SubjectFinder(nn.Module):
    """Six convolutions on frames of 64 x 112: which cells are a subject's middle."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, stride, dilation in (
            (3, 2, 1),
            (width, 2, 1),
            (width, 1, 1),
            (width, 1, 2),
            (width, 1, 4),
        ):
            conv = nn.Conv2d(before, width, 3, stride, dilation, dilation)
            layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 1, 1))

    def forward(self, frames: Tensor) -> Tensor:
        """Compute logits (n, *GRID) from frames (n, 3, 64, 112) in [-1, 1]."""
        return self.layers(frames).squeeze(1)

    @torch.no_grad()
    def count(self, frames: np.ndarray) -> np.ndarray:
        """Number of subjects in each of the frames uint8 (n, H, W, 3): int64 (n,)."""
        marks = self.eval()(prepare(frames)).sigmoid()
        highest = F.max_pool2d(marks, 5, 1, 2)
        return ((marks == highest) & (marks > MARK)).sum((1, 2)).numpy()

    def doubled(self, frames: np.ndarray) -> np.ndarray:
        """Whether each frame shows more than one subject, bool (n,)."""
        return self.count(frames) > 1


def single_and_double(renderer: SceneRenderer, rng: np.random.Generator) -> tuple[Example, Example]:
    """Render a frame of a scene, and one in which its subject is doubled."""
    seconds = float(rng.uniform(0, 16))
    renderer.path = Swing() if rng.random() < 0.5 else _any_swing(rng)
    first, mask = renderer.frame(seconds)
    middle, width = _middle(mask)
    other, moment, there = middle, seconds, mask
    second = first
    while abs(other[0] - middle[0]) < min(APART * width, FAR):
        renderer.path = _any_swing(rng)
        moment = float(rng.uniform(0, 16)) if rng.random() < 0.3 else seconds
        second, there = renderer.frame(moment)
        other, _ = _middle(there)
    share = np.float32(rng.uniform(0.3, 0.7))
    if moment == seconds and rng.random() < 0.5:
        double = first * (1 - share) + second * share
    else:
        strength = there[..., None] / np.float32(255) * np.float32(rng.uniform(0.5, 1.0))
        double = first * (1 - strength) + second * strength
    return Example(first, [middle]), Example(double.astype(np.uint8), [middle, other])


def rendered_pairs(count: int, seed: int) -> list[Example]:
    """Render `count` frames of each kind, alternately."""
    rng = np.random.default_rng(seed)
    examples: list[Example] = []
    while len(examples) < 2 * count:
        renderer = SceneRenderer(draw_scene(rng))
        for _ in range(OF_A_SCENE):
            examples += single_and_double(renderer, rng)
    return examples[: 2 * count]


def detector_figures(finder: SubjectFinder, count: int = 300) -> dict[str, float]:
    """Share of rendered frames that are called doubled: of single ones, and of doubled ones."""
    examples = rendered_pairs(count, seed=21)
    found = finder.doubled(np.stack([example.frame for example in examples]))
    return {
        "detector, rendered single": float(found[0::2].mean()),
        "detector, rendered doubled": float(found[1::2].mean()),
    }


def load_detector(file: Path, count: int = 4500, rounds: int = 12) -> SubjectFinder:
    """Load the detector from a file; train it and write the file if it does not exist."""

    def train(finder: SubjectFinder) -> None:
        examples = rendered_pairs(count, seed=20)
        data = torch.cat([prepare(example.frame[None]) for example in examples])
        targets = torch.stack([example.target() for example in examples])

        def loss_of(marks: Tensor, pick: Tensor) -> Tensor:
            weight = 1 + 20 * targets[pick]  # middles are few
            return F.binary_cross_entropy_with_logits(marks, targets[pick], weight)

        fit(finder, data, loss_of, batch=32, rounds=rounds)

    return load_or_train(SubjectFinder(), file, train)


def _any_swing(rng: np.random.Generator) -> Swing:
    return Swing(float(rng.uniform(0, 2 * np.pi)))


def _middle(mask: np.ndarray) -> tuple[tuple[float, float], float]:
    """The middle (x, y) of a mask and its width, in pixels."""
    rows, columns = np.nonzero(mask > 128)
    return (float(columns.mean()), float(rows.mean())), float(np.ptp(columns))
