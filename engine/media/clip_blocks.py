"""A clip's latents block by block; of a long clip only the blocks that memory still knows of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from sana_stream.engine.block import BlockPlan, BlockSpan
from sana_stream.engine.snapshot.snapshot import SessionSettings
from sana_stream.models.config import TransformerConfig
from sana_stream.models.memory_policy import WindowPolicy, parse_memory_policy
from sana_stream.models.vae.registry import VideoVAE
from sana_stream.models.vae.wan import VAECache, WanVAE

from .inputs import GivenClip
from .resize import to_input


@dataclass(frozen=True, slots=True)
class KnownBlocks:
    """Blocks of a clip on which the state behind its last one depends."""

    sink: int  # how many of its first ones
    begin: int  # the first of its last ones

    @classmethod
    def of(
        cls, settings: SessionSettings, config: TransformerConfig, keep: int, count: int
    ) -> KnownBlocks:
        """With a window, each layer sees that many blocks of the layer before it, and one frame of
        the block before; so a block is without effect after as many blocks as all layers see.

        Args:
            keep: how many of the last blocks' latents are kept.
            count: blocks of the clip.
        """
        policy = parse_memory_policy(settings.memory)
        if not isinstance(policy, WindowPolicy):
            return cls(0, 0)
        reach = policy.size + config.num_layers * (policy.size + 1)
        begin = count - max(reach, keep)
        return cls(policy.sink, begin) if begin > policy.sink else cls(0, 0)


def encoded_blocks(
    vae: VideoVAE, plan: BlockPlan, clip: GivenClip, settings: SessionSettings, known: KnownBlocks,
    count: int, device: torch.device,
) -> Iterator[tuple[BlockSpan, Tensor]]:  # fmt: skip
    """Each block that is known, with its latents (1, C, T', h, w), as in encoding the whole clip.

    One block of the clip is in memory at a time. Its pictures too many are left out at its
    beginning: the last of its `count` blocks ends with it.
    """
    end = plan.block(count).start
    size = settings.height, settings.width
    left_out = clip.frames - end
    rows = ((0, known.sink), (known.begin, count))
    for begin, stop in rows:
        if begin == stop:
            continue
        first = _warm(vae, settings.block_frames, begin)
        start = plan.block(first).start - (first > 0)
        pictures = clip.pictures(*size, left_out + start)
        cache: VAECache | None = None
        for index in range(first, stop):
            block = plan.block(index)
            piece = np.stack(list(islice(pictures, block.frames + (0 < index == first))))
            latents, cache = vae.encode(to_input(piece, device), cache)
            if index >= begin:
                yield block, latents


def _warm(vae: VideoVAE, block_frames: int, begin: int) -> int:
    """The block from which on to encode, so that block `begin` is as in the whole clip.

    Each convolution of the encoder looks back by two of its frames, which are never longer than
    latent ones.
    """
    if not isinstance(vae, WanVAE):
        return 0
    context = 2 * sum(isinstance(part, torch.nn.Conv3d) for part in vae.encoder.modules())
    first = begin - -(-context // block_frames)
    return max(0, first)
