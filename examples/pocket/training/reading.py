"""Training of the text encoder by classification of attributes from caption embeddings.

The velocity's error teaches the encoder little at first; labels teach synonyms directly. The
classifiers are not exported.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from storybook.captions import caption, plain_caption
from storybook.world import ATTRIBUTES, SIDES, SIZES, SPARSE, Scene, draw_scene

from .optimizer import Optimizer
from .run import Run
from .text import Captioner

CAPTIONS = 96  # per step
LABELS = ATTRIBUTES | {"size": SIZES, "side": SIDES}


class AttributeClassifiers(nn.Module):
    """One linear classifier per attribute, on the mean of a caption's embeddings."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(
            {name: nn.Linear(width, len(values)) for name, values in LABELS.items()}
        )

    def loss(self, embeds: Tensor, mask: Tensor, scenes: list[Scene]) -> Tensor:
        """Compute the mean cross entropy of all attributes.

        Args:
            embeds: (n, L, C) of n captions.
            mask: (n, L).
            scenes: the scene of each caption.
        """
        counts = mask.unsqueeze(-1).to(embeds.dtype)
        means = (embeds * counts).sum(1) / counts.sum(1)
        losses = [
            F.cross_entropy(head(means).float(), _labels(name, scenes, means.device))
            for name, head in self.heads.items()
        ]
        return torch.stack(losses).mean()


def teach(captioner: Captioner, readers: AttributeClassifiers, run: Run, seed: int) -> None:
    """Train the text encoder on captions alone; resumes from `run`'s state."""
    lesson = nn.ModuleDict({"text": captioner.model, "readers": readers})
    matrices = [n for n, p in captioner.model.named_parameters(prefix="text") if p.ndim == 2]
    optimizer = Optimizer(lesson, [n for n in matrices if "embed_tokens" not in n])
    if state := run.load():
        optimizer.load(state["optimizer"])
    rng = np.random.default_rng((seed, 2, run.steps))
    while run.has_time:
        scenes: list[Scene] = [draw_scene(rng, sparse=SPARSE) for _ in range(CAPTIONS)]
        loss = readers.loss(*captioner([_random_caption(s, rng) for s in scenes]), scenes)
        loss.backward()
        optimizer.step(run.rate(cool=0.8))
        run.tick()
        if run.steps % 50 == 0:
            run.log(loss=float(loss.detach()))
        if run.due():
            run.save(optimizer=optimizer.state())


def _random_caption(scene: Scene, rng: np.random.Generator) -> str:
    return plain_caption(scene) if rng.random() < 0.2 else caption(scene, rng)


def _labels(name: str, scenes: list[Scene], device: torch.device) -> Tensor:
    places = [LABELS[name].index(getattr(scene, name)) for scene in scenes]
    return torch.tensor(places, device=device)
