"""A classifier of time, place, weather, subject and colour from a single frame.

It is trained on rendered scenes only, some of them blurred, and never on frames of the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from storybook.scenes import SceneRenderer
from storybook.world import ATTRIBUTES, Scene, draw_scene

from .fitting import fit, load_or_train

Labels = dict[str, int]


class Probe(nn.Module):
    """Five convolutions and one linear head per attribute, on frames of 64 x 112."""

    def __init__(self) -> None:
        super().__init__()
        self.features = convolutions()
        self.heads = nn.ModuleDict(
            {name: nn.Linear(128 * 8, len(values)) for name, values in ATTRIBUTES.items()}
        )

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """Compute logits (n, values) of each attribute from frames (n, 3, 64, 112) in [-1, 1]."""
        x = self.features(frames)  # (n, 128, 2, 4)
        return {name: head(x.flatten(1)) for name, head in self.heads.items()}

    @torch.no_grad()
    def read(self, frames: np.ndarray) -> list[dict[str, str]]:
        """Classify frames uint8 (n, H, W, 3)."""
        scores = self.eval()(prepare(frames))
        return [
            {name: ATTRIBUTES[name][int(scores[name][i].argmax())] for name in ATTRIBUTES}
            for i in range(len(frames))
        ]


def convolutions() -> nn.Sequential:
    """Create five convolutions from frames (n, 3, 64, 112) to features (n, 128, 2, 4)."""
    layers: list[nn.Module] = []
    for before, after in pairwise((3, 24, 48, 96, 128, 128)):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


def prepare(frames: np.ndarray) -> Tensor:
    """Convert frames uint8 (n, H, W, 3) to the probe's input."""
    x = torch.tensor(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    return F.interpolate(x, (64, 112), mode="area")


def labels_of(scene: Scene) -> Labels:
    """Class numbers of a scene's attributes."""
    return {name: values.index(getattr(scene, name)) for name, values in ATTRIBUTES.items()}


def accuracy(read: Iterable[dict[str, str]], scenes: Iterable[Scene]) -> dict[str, float]:
    """Share of frames on which each attribute is classified correctly."""
    pairs = list(zip(read, scenes, strict=True))
    return {
        name: sum(found[name] == getattr(scene, name) for found, scene in pairs) / len(pairs)
        for name in ATTRIBUTES
    }


def rendered(count: int, seed: int) -> tuple[np.ndarray, list[Scene]]:
    """Render frames of random scenes, held-out pairs among them."""
    rng = np.random.default_rng(seed)
    frames, scenes = [], []
    for _ in range(count):
        scene = draw_scene(rng, held_out=rng.random() < 0.17)
        renderer = SceneRenderer(scene)
        frames.append(renderer.frame(float(rng.uniform(0, 24)))[0])
        scenes.append(scene)
    return np.stack(frames), scenes


def load_probe(file: Path, count: int = 6000, rounds: int = 10) -> Probe:
    """Load the probe from a file; train it and write the file if it does not exist."""

    def train(probe: Probe) -> None:
        frames, scenes = rendered(count, seed=10)
        truth = {n: torch.tensor([labels_of(s)[n] for s in scenes]) for n in ATTRIBUTES}

        def loss_of(scores: dict[str, Tensor], pick: Tensor) -> Tensor:
            losses = [
                F.cross_entropy(scores[n], truth[n][pick], label_smoothing=0.05) for n in ATTRIBUTES
            ]
            return torch.stack(losses).sum()

        fit(probe, prepare(frames), loss_of, batch=64, rounds=rounds)

    return load_or_train(Probe(), file, train)
