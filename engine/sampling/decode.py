"""Decoding of a block's latents to frames, a few latent frames at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from sana_stream.engine.block import BlockSpan
from sana_stream.engine.loading.model import DecoderCalls
from sana_stream.engine.snapshot.snapshot import Snapshot
from sana_stream.models.vae.wan import VAECache

from .checks import check_frames


def decode_block(
    decoder: DecoderCalls,
    latents: Tensor,
    before: Snapshot,
    span: BlockSpan,
    step: int,
    to_host: Callable[[Tensor], np.ndarray],
) -> tuple[np.ndarray, VAECache | None]:
    """Decode the latents of a block.

    Args:
        latents: float32 (1, C, T', h, w), normalised.
        before: the snapshot that the block follows.
        span: the block, for messages.
        step: latent frames decoded at a time.
        to_host: copies uint8 frames from the device.

    Returns:
        Frames uint8 (T, H, W, 3), and the cache for the next block.

    Raises:
        HealthError: frames that are not finite.
    """
    cache = before.cache or rebuild_cache(decoder, before.recent_latents, step)
    parts = []
    for piece in latents.split(step, dim=2):
        frames, cache = decoder.decode(piece, cache)
        check_frames(frames, span)
        parts.append(to_host(to_pixels(frames)))
    return np.concatenate(parts), cache


def rebuild_cache(decoder: DecoderCalls, recent: Sequence[Tensor], step: int) -> VAECache | None:
    """The decoder's cache after the `recent` latents, for a snapshot that has none."""
    cache = None
    for latents in recent:
        for piece in latents.split(step, dim=2):
            _, cache = decoder.decode(piece, cache)
    return cache


def to_pixels(frames: Tensor) -> Tensor:
    """Frames (1, 3, T, H, W) in [-1, 1] to uint8 (T, H, W, 3)."""
    scaled = (frames[0].float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    return scaled.permute(1, 2, 3, 0).contiguous()
