"""Latents of a clip, block by block; of a long clip only the blocks that affect the state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from sana_stream.engine.block import BlockPlan, BlockSpan
from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.snapshot.snapshot import SessionSettings
from sana_stream.models.memory_policy import WindowPolicy, parse_memory_policy
from sana_stream.models.registry import VideoTransformerConfig
from sana_stream.models.vae.registry import VideoVAE
from sana_stream.models.vae.streaming import VAECache

from .inputs import GivenClip
from .resize import to_input


@dataclass(frozen=True, slots=True)
class KnownBlocks:
    """Blocks of a clip on which the state after its last block depends."""

    sink: int  # number of blocks at the beginning
    begin: int  # index of the first of the last blocks

    @classmethod
    def of(
        cls, settings: SessionSettings, config: VideoTransformerConfig, keep: int, count: int
    ) -> KnownBlocks:
        """Determine the blocks that still affect the state after a clip of `count` blocks.

        With a window policy each layer sees `size` earlier blocks of the layer before it, and one
        frame of the previous block. A block older than the sum over all layers has no effect.

        Args:
            keep: number of last blocks whose latents are kept.
            count: blocks of the clip.
        """
        policy = parse_memory_policy(settings.memory)
        if not isinstance(policy, WindowPolicy):
            return cls(0, 0)
        reach = policy.size + config.num_layers * (policy.size + 1)
        begin = count - max(reach, keep)
        return cls(policy.sink, begin) if begin > policy.sink else cls(0, 0)


def encoded_blocks(
    model: LoadedModel, plan: BlockPlan, clip: GivenClip, settings: SessionSettings,
    known: KnownBlocks, count: int,
) -> Iterator[tuple[BlockSpan, Tensor]]:  # fmt: skip
    """Yield each known block with its latents (1, C, T', h, w), equal to encoding the whole clip.

    One block of frames is in memory at a time. Frames that exceed `count` whole blocks are dropped
    at the clip's beginning, so that the last block ends with the clip.
    """
    end = plan.block(count).start
    size = settings.height, settings.width
    dropped = clip.frames - end
    ranges = ((0, known.sink), (known.begin, count))
    for begin, stop in ranges:
        if begin == stop:
            continue
        first = _first_to_encode(model.vae, settings.block_frames, begin)
        start = plan.block(first).start - (first > 0)
        frames = clip.pictures(*size, dropped + start)
        cache: VAECache | None = None
        for index in range(first, stop):
            block = plan.block(index)
            chunk = np.stack(list(islice(frames, block.frames + (0 < index == first))))
            latents, cache = model.lane.run(
                "encode", chunk.size, partial(_encode, model, chunk, cache)
            )
            if index >= begin:
                yield block, latents


def _encode(
    model: LoadedModel, chunk: np.ndarray, cache: VAECache | None
) -> tuple[Tensor, VAECache]:
    return model.vae.encode(to_input(chunk, model.device), cache)


def _first_to_encode(vae: VideoVAE, block_frames: int, begin: int) -> int:
    """Index of the block at which encoding must start to make block `begin` exact.

    Each causal convolution of the encoder sees two earlier frames at its own rate, which are never
    longer than latent frames.
    """
    context = 2 * sum(isinstance(part, torch.nn.Conv3d) for part in vae.encoder.modules())
    first = begin - -(-context // block_frames)
    return max(0, first)
