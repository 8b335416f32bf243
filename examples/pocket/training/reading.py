"""What a caption says, read off its embedding: a second, direct lesson for the text encoder.

The velocity's error tells the encoder little before pictures are half learnt; labels tell it at
once which words mean the same. The readers are left behind at the export.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from storybook.world import ATTRIBUTES, Scene


class Readers(nn.Module):
    """One linear reader an attribute, on the mean of a caption's embeddings."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(
            {name: nn.Linear(width, len(values)) for name, values in ATTRIBUTES.items()}
        )

    def loss(self, embeds: Tensor, mask: Tensor, scenes: list[Scene | None]) -> Tensor:
        """Mean cross entropy of all attributes.

        embeds (n, L, C) and mask (n, L) of n captions; a caption without a scene is not counted.
        """
        counts = mask.unsqueeze(-1).to(embeds.dtype)
        means = (embeds * counts).sum(1) / counts.sum(1)
        losses = [
            F.cross_entropy(
                head(means).float(), _labels(name, scenes, means.device), reduction="sum"
            )
            for name, head in self.heads.items()
        ]
        told = sum(scene is not None for scene in scenes)
        return torch.stack(losses).mean() / max(1, told)


def _labels(name: str, scenes: list[Scene | None], device: torch.device) -> Tensor:
    places = [
        -100 if scene is None else ATTRIBUTES[name].index(getattr(scene, name)) for scene in scenes
    ]
    return torch.tensor(places, device=device)
