"""Decoding of a block's latents to frames, a few latent frames at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sana_stream.engine.block import BlockSpan
from sana_stream.engine.device import SideStream
from sana_stream.engine.frame_stats import measure_frames
from sana_stream.engine.loading.model import DecoderCalls
from sana_stream.engine.snapshot.snapshot import Snapshot, small_cache
from sana_stream.models.vae.streaming import VAECache

from .checks import is_finite

DeliverPart = Callable[[Tensor, int], None]
"""Takes frames uint8 (T, H, W, 3) on the CPU and the number of the first one in the block."""


@dataclass(frozen=True, slots=True)
class DecodedBlock:
    """A decoded block; its tensors on the CPU are complete once its side stream has run."""

    frames: Tensor  # uint8 (T, H, W, 3) on the CPU
    latents: Tensor  # float32 (1, C, T', h, w) on the CPU, normalised
    stats: Tensor  # float32 (T, 3) on the CPU, from `measure_frames`
    finite: Tensor  # bool () on the CPU, whether the decoder's output was
    cache: VAECache | None  # for the next block


def decode_block(
    decoder: DecoderCalls,
    latents: Tensor,
    cache: VAECache | None,
    span: BlockSpan,
    step: int,
    side_stream: SideStream,
    deliver: DeliverPart | None = None,
) -> DecodedBlock:
    """Decode the latents of a block.

    Args:
        latents: float32 (1, C, T', h, w), normalised.
        cache: of the blocks before; `None` at the start of the stream.
        span: the block, of which all frames are decoded.
        step: latent frames decoded at a time.
        side_stream: runs this.
        deliver: is called with the frames of each piece as soon as they are on the CPU, up to the
            first piece that is not finite.
    """
    host, stats, finite = None, [], []
    start, parts = 0, None if deliver is None else _Parts(side_stream, deliver)
    for piece in latents.split(step, dim=2):
        frames, kept = decoder.decode(piece, cache)
        cache = kept.for_single_use()
        del kept  # so that the next piece can free its tails
        finite.append(is_finite(frames))
        pixels = to_pixels(frames)
        stats.append(measure_frames(pixels))
        if host is None:
            host = side_stream.host_memory((span.frames, *pixels.shape[1:]), torch.uint8)
        part = side_stream.to_host(pixels, host[start : start + len(pixels)])
        if parts is not None:
            parts.add(part, start, finite[-1])
        start += len(pixels)
    assert host is not None
    if parts is not None:
        parts.deliver_all()
    to_host = side_stream.to_host
    return DecodedBlock(
        host,
        to_host(latents),
        to_host(torch.cat(stats)),
        to_host(torch.stack(finite).all()),
        cache,
    )


class _Parts:
    """Parts whose copies may be under way: the device gets the next piece before one is waited for.

    Args:
        side_stream: makes the copies.
        deliver: as for `decode_block`.
    """

    def __init__(self, side_stream: SideStream, deliver: DeliverPart) -> None:
        self._side_stream = side_stream
        self._deliver = deliver
        self._copied: tuple[Tensor, int, Tensor, Any] | None = None
        self._finite = True

    def add(self, frames: Tensor, start: int, finite: Tensor) -> None:
        """Deliver the part before this one, and this one where its copy is complete already."""
        flag = self._side_stream.to_host(finite)
        event = self._side_stream.record_event()
        self.deliver_all()
        self._copied = frames, start, flag, event
        if event is None:
            self.deliver_all()

    def deliver_all(self) -> None:
        """Wait for the last part's copy and deliver it."""
        if self._copied is None:
            return
        frames, start, flag, event = self._copied
        self._copied = None
        self._side_stream.wait(event)
        self._finite = self._finite and bool(flag.item())
        if self._finite:
            self._deliver(frames, start)


class HeldCache:
    """The decoder's cache after a stream's last block, where it is too large for snapshots.

    It is in memory once: decoding the next block consumes it. After any other block, or an attempt
    that failed, it is rebuilt.
    """

    def __init__(self) -> None:
        self._after: tuple[Tensor, ...] = ()  # latents of the blocks that it follows
        self._cache: VAECache | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the cache."""
        return 0 if self._cache is None else self._cache.nbytes

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors of the cache."""
        return () if self._cache is None else tuple(self._cache.tails)

    def keep(self, after: Snapshot, cache: VAECache | None) -> Snapshot:
        """The snapshot with the cache in it if that is small; a large one is held here."""
        small = small_cache(cache)
        self._after, self._cache = after.recent_latents, cache if small is None else None
        return replace(after, cache=None if small is None else VAECache(small.tails))

    def take(self, before: Snapshot, decoder: DecoderCalls, step: int) -> VAECache | None:
        """The cache that a snapshot's next block is decoded with: its own, held, or rebuilt.

        Args:
            before: the snapshot.
            decoder: rebuilds the cache from the snapshot's latents.
            step: latent frames decoded at a time.
        """
        cache, self._cache = self._cache, None
        if before.cache is not None:
            return before.cache
        if cache is not None and self._is_after(before.recent_latents):
            return cache
        del cache
        return rebuild_cache(decoder, before.recent_latents, step)

    def _is_after(self, recent: Sequence[Tensor]) -> bool:
        pairs = zip(self._after, recent, strict=False)
        return len(recent) == len(self._after) and all(own is other for own, other in pairs)


def rebuild_cache(decoder: DecoderCalls, recent: Sequence[Tensor], step: int) -> VAECache | None:
    """The decoder's cache after the `recent` latents, for a snapshot that has none."""
    cache: VAECache | None = None
    for latents in recent:
        for piece in latents.split(step, dim=2):
            kept = decoder.decode(piece, cache)[1]
            cache = kept.for_single_use()
            del kept
    return cache


def to_pixels(frames: Tensor) -> Tensor:
    """Frames (1, 3, T, H, W) in [-1, 1] to uint8 (T, H, W, 3)."""
    scaled = (frames[0].float() * 127.5).add_(127.5).round_().clamp_(0, 255)
    # one pass that converts and arranges
    pixels = torch.empty(
        (*scaled.shape[1:], scaled.shape[0]), dtype=torch.uint8, device=frames.device
    )
    return pixels.copy_(scaled.permute(1, 2, 3, 0))
