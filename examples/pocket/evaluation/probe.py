"""A classifier that reads time, place, weather, subject and colour off a single picture.

It learns from rendered scenes alone, some of them blurred; it never sees a picture of the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from storybook.motion import draw_path
from storybook.scenes import Painter
from storybook.world import ATTRIBUTES, Scene, draw_scene

Labels = dict[str, int]


class Probe(nn.Module):
    """Five convolutions and one linear head an attribute, on pictures of 64 x 112."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 48, 96, 128, 128)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(128 * 8, len(values)) for name, values in ATTRIBUTES.items()}
        )

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Pictures (n, 3, 64, 112) in [-1, 1] to one row of scores an attribute."""
        x = self.features(pictures)  # (n, 128, 2, 4)
        return {name: head(x.flatten(1)) for name, head in self.heads.items()}

    @torch.no_grad()
    def read(self, frames: np.ndarray) -> list[dict[str, str]]:
        """What is seen on frames uint8 (n, H, W, 3)."""
        scores = self.eval()(prepare(frames))
        return [
            {name: ATTRIBUTES[name][int(scores[name][i].argmax())] for name in ATTRIBUTES}
            for i in range(len(frames))
        ]


def prepare(frames: np.ndarray) -> Tensor:
    """Frames uint8 (n, H, W, 3) as the probe takes them."""
    x = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return F.interpolate(x, (64, 112), mode="area")


def labels_of(scene: Scene) -> Labels:
    """The scene's classes by number."""
    return {name: values.index(getattr(scene, name)) for name, values in ATTRIBUTES.items()}


def accuracy(read: Iterable[dict[str, str]], scenes: Iterable[Scene]) -> dict[str, float]:
    """Share of pictures on which each attribute was read as the scene has it."""
    pairs = list(zip(read, scenes, strict=True))
    return {
        name: sum(seen[name] == getattr(scene, name) for seen, scene in pairs) / len(pairs)
        for name in ATTRIBUTES
    }


def rendered(count: int, seed: int) -> tuple[np.ndarray, list[Scene]]:
    """Rendered pictures of random scenes, pairs kept out of training among them."""
    rng = np.random.default_rng(seed)
    frames, scenes = [], []
    for _ in range(count):
        scene = draw_scene(rng, held_out=rng.random() < 0.17)
        painter = Painter(scene, draw_path(rng), int(rng.integers(3)))
        frames.append(painter.frame(float(rng.uniform(0, 24)))[0])
        scenes.append(scene)
    return np.stack(frames), scenes


def load_probe(file: Path, pictures: int = 6000, rounds: int = 10) -> Probe:
    """The probe from a file, trained and written there if the file does not exist."""
    probe = Probe()
    if file.exists():
        probe.load_state_dict(torch.load(file, weights_only=True))
        return probe.eval()
    torch.manual_seed(0)
    frames, scenes = rendered(pictures, seed=10)
    data = prepare(frames)
    truth = {n: torch.tensor([labels_of(s)[n] for s in scenes]) for n in ATTRIBUTES}
    optimizer = torch.optim.AdamW(probe.parameters(), 3e-3, weight_decay=0.02)
    steps = rounds * len(data) // 64
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, steps)
    for _ in range(steps):
        pick = torch.randint(len(data), (64,))
        scores = probe.train()(_softened(data[pick]))
        loss = torch.stack(
            [F.cross_entropy(scores[n], truth[n][pick], label_smoothing=0.05) for n in ATTRIBUTES]
        ).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(probe.state_dict(), file)
    return probe.eval()


def _softened(x: Tensor) -> Tensor:
    """Half of the batch blurred, all of it moved a little in place and brightness, with noise."""
    half = len(x) // 2
    small = F.interpolate(x[:half], scale_factor=float(np.random.choice((0.35, 0.5, 0.7))))
    soft = F.interpolate(small, x.shape[-2:], mode="bilinear")
    x = torch.cat((soft, x[half:]))
    x = x.roll(tuple(int(v) for v in np.random.randint(-3, 4, 2)), (2, 3))
    return x * (1 + 0.1 * torch.randn(len(x), 1, 1, 1)) + 0.03 * torch.randn_like(x)
