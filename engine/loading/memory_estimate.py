"""Estimates of the memory that a stream needs, before it starts."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sana_stream.models.memory_policy import parse_memory_policy
from sana_stream.models.registry import VideoTransformerConfig, build_transformer
from sana_stream.models.state import StreamState
from sana_stream.models.vae.registry import VideoDecoderConfig, build_decoder
from sana_stream.models.vae.streaming import SingleUseCache


class _LiveBytes(TorchDispatchMode):
    """Tracks the bytes of live storages and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for leaf in tree_leaves((args, kwargs)):  # weights and inputs are not counted
            if isinstance(leaf, Tensor):
                self._note(leaf.untyped_storage(), 0)
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._note(leaf.untyped_storage(), leaf.untyped_storage().nbytes())
        return result

    def _note(self, storage: torch.UntypedStorage, size: int) -> None:
        key = storage._cdata
        if key not in self._held:
            self._held[key] = size
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self._held.pop(key, 0)


def peak_bytes(call: Callable[[], object]) -> int:
    """The peak of bytes of tensors that a call allocates, its result included.

    Meant for models and inputs on the meta device. Workspaces inside kernels are not counted.
    """
    with torch.no_grad(), _LiveBytes() as live:
        result = call()
    del result
    return live.peak


TEXT_TOKENS = 300
SPARE = 0.8  # of the free memory; the rest is for workspaces of convolutions
_HARMLESS = 64  # bytes, more than a decoded pixel needs a channel


@dataclass(frozen=True, slots=True)
class MemoryBreakdown:
    """Bytes on the device, by use."""

    transformer: int  # weights
    vae: int  # with the decoder in its place, where there is one
    text_encoder: int
    kept: int  # between two blocks: states and the decoder's cache
    denoise: int  # peak while a block is denoised
    decode: int  # peak while a block is decoded
    at_once: bool = True  # a block is decoded while the next one is denoised

    @property
    def peak(self) -> int:
        """The peak with the text encoder on the device."""
        return self.floor + self.text_encoder

    @property
    def floor(self) -> int:
        """The peak with the text encoder offloaded while blocks are generated."""
        weights = self.transformer + self.vae + self.kept
        stages = self.denoise, self.decode
        return weights + (sum(stages) if self.at_once else max(stages))


def meta_denoise(
    config: VideoTransformerConfig,
    dtype: torch.dtype,
    latents: tuple[int, ...],
    text_tokens: int = TEXT_TOKENS,
) -> Callable[[], Tensor]:
    """A transformer call on latents (1, C, T, h, w) on the meta device, to be measured."""
    with torch.device("meta"), torch.no_grad():
        model = build_transformer(config).to(dtype)
        embeds = torch.empty(1, text_tokens, config.caption_channels)
        text = model.prepare_text(embeds, torch.empty(1, text_tokens), keep_padding=True)
        noisy, times = torch.empty(latents), torch.empty(1)
    policy, grid = parse_memory_policy("cumulative"), model.grid(*latents[-2:])
    past = StreamState.empty(config, policy, grid, dtype, "meta").past()
    return lambda: model.denoise(noisy, times, text, past, 0)


@lru_cache(64)
def denoise_bytes(
    config: VideoTransformerConfig, dtype: torch.dtype, latents: tuple[int, ...]
) -> int:
    """Peak bytes of a transformer call on latents (1, C, T, h, w), without weights and state."""
    return peak_bytes(meta_denoise(config, dtype, latents))


@lru_cache(64)
def decode_bytes(
    config: VideoDecoderConfig, dtype: torch.dtype, latents: tuple[int, ...]
) -> tuple[int, int]:
    """Peak bytes of decoding latents (1, C, T', h, w) in mid-stream, and bytes of the cache.

    The cache is not in the peak: a new one takes the place of the one before.
    """
    with torch.device("meta"):
        decoder = build_decoder(config).to(dtype)
        _, cache = decoder.decode(torch.empty((*latents[:2], 1, *latents[3:])))
        piece = torch.empty(latents)

    def decode() -> object:
        own = SingleUseCache(tuple(map(torch.empty_like, cache.tails)))
        return decoder.decode(piece, own)

    return peak_bytes(decode) - cache.nbytes, cache.nbytes


def block_decode_bytes(
    config: VideoDecoderConfig, dtype: torch.dtype, latents: tuple[int, ...], pieces: int
) -> tuple[int, int]:
    """As `decode_bytes` of a block (1, C, T', h, w), `pieces` latent frames at a time."""
    return decode_bytes(config, dtype, (*latents[:2], pieces, *latents[3:]))


def max_decode_frames(
    config: VideoDecoderConfig,
    dtype: torch.dtype,
    latents: tuple[int, ...],
    free: int,
    most: int | None = None,
    at_once: Callable[[], int] = lambda: 0,
) -> int:
    """How many latent frames of a block can be decoded at once.

    The decoder is not measured where its memory is far below what is free.

    Args:
        latents: the block's shape (1, C, T', h, w).
        free: free memory in bytes.
        most: limit of the result.
        at_once: counts the bytes that the stage next to decoding takes.

    Returns:
        All T', or as many as fit, at least 1.
    """
    frames, factor = min(latents[2], most or latents[2]), config.spatial_factor
    pixels = latents[3] * latents[4] * factor**2 * config.temporal_factor * frames
    if pixels * config.decoder_dim * _HARMLESS < free:
        return frames
    free -= at_once()

    def needed(count: int) -> int:
        return block_decode_bytes(config, dtype, latents, count)[0]

    one = needed(1)
    further = max(1, needed(2) - one)
    return max(1, min(frames, 1 + int((free * SPARE - one) / further)))


CUDA_DECODE_FRAMES = 2  # more saves little time there, and delays the first frames


def default_decode_frames(device: torch.device, frames: int) -> int:
    """How many of `frames` latent frames are decoded at once where memory allows it."""
    return min(frames, CUDA_DECODE_FRAMES) if device.type == "cuda" else frames


def free_bytes(device: torch.device) -> int:
    """Bytes of free memory on a device, torch's unused reserve included."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return psutil.virtual_memory().available
