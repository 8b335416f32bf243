"""Clips as latents: rendered and encoded once, and reused with new captions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from storybook.motion import CYCLE
from storybook.scenes import Clip, draw_clip
from storybook.world import SPARSE, Scene, change_scene, draw_scene

from .autoencoder import Encode

BLOCK_FRAMES = 4  # latent frames per block; the first block has one more


def frame_count(blocks: int) -> int:
    """Frames of a clip of `blocks` blocks; a clip of 0 blocks is a stream's first frame."""
    return 1 + 4 * BLOCK_FRAMES * blocks


def latent_frames(blocks: int) -> list[int]:
    """Number of latent frames of each block: the first has one more than the others."""
    return [1 + BLOCK_FRAMES * min(1, blocks)] + [BLOCK_FRAMES] * (blocks - 1)


@dataclass(frozen=True, slots=True)
class LatentClip:
    """Latents of one clip, its scenes, and the block of the scene change."""

    latents: Tensor  # bfloat16 (C, T, h, w), normalised
    mask: Tensor  # uint8 (T, h, w), 255 where the subject is
    scenes: tuple[Scene, ...]
    switch: int  # block at which scenes[1] begins; the number of blocks if there is none

    @property
    def blocks(self) -> int:
        """Number of blocks; 0 for a single frame."""
        return self.latents.shape[1] // BLOCK_FRAMES


class ClipPool:
    """All clips generated so far, extended by `grow`; files keep them for a resumed run."""

    def __init__(
        self, encode: Encode, folder: Path | None, blocks: int, seed: int, shard: int = 50
    ) -> None:
        self.encode, self.folder, self.blocks, self.shard = encode, folder, blocks, shard
        self.clips: list[LatentClip] = []
        for file in sorted(folder.glob(f"clips{blocks}_*.pt")) if folder else ():
            self.clips += torch.load(file, weights_only=False)
        self.rng = np.random.default_rng((seed, blocks, len(self.clips)))

    def grow(self) -> None:
        """Render and encode one more clip."""
        self.clips.append(self._make())
        if self.folder and len(self.clips) % self.shard == 0:
            number = len(self.clips) // self.shard
            file = self.folder / f"clips{self.blocks}_{number:04d}.pt"
            torch.save(self.clips[-self.shard :], file)

    def pick(self, count: int, rng: np.random.Generator) -> list[LatentClip]:
        """Choose clips at random."""
        return [self.clips[i] for i in rng.integers(len(self.clips), size=count)]

    def _make(self) -> LatentClip:
        rng, blocks = self.rng, self.blocks
        scene, offset = draw_scene(rng, sparse=SPARSE), 0.0
        if blocks > 1 and rng.random() < 0.7:
            offset = float(rng.integers(1, int(2 * CYCLE)))  # as blocks of streams
        scenes, starts, switch = (scene,), (0,), blocks
        if blocks > 1 and rng.random() < 0.4:
            switch = int(rng.integers(1, blocks))
            scenes, starts = (scene, change_scene(scene, rng, SPARSE)), (0, frame_count(switch))
        clip = draw_clip(scenes, starts, frame_count(blocks), offset=offset)
        latents, mask = to_latents(self.encode, clip)
        return LatentClip(latents, mask, scenes, switch)


@torch.no_grad()
def to_latents(encode: Encode, clip: Clip) -> tuple[Tensor, Tensor]:
    """Encode a clip to latents (C, T, h, w) and a mask (T, h, w)."""
    frames = torch.from_numpy(clip.frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    latents, _ = encode(frames)
    masks = torch.from_numpy(clip.masks)[None, None].float()
    side = masks.shape[-1] // latents.shape[-1]
    masks = F.max_pool3d(F.pad(masks, (0, 0, 0, 0, 3, 0)), (4, side, side))
    return latents[0].bfloat16().cpu(), masks[0, 0].byte()
