"""Estimates of the memory that a stream needs, before it starts."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sana_stream.models.attention import AttentionState
from sana_stream.models.config import TransformerConfig
from sana_stream.models.memory_policy import Past
from sana_stream.models.transformer import SanaVideoTransformer, TextKV
from sana_stream.models.vae.registry import VideoDecoderConfig, build_decoder


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
    vae: int  # with the small decoder, where there is one
    text_encoder: int
    kept: int  # between two blocks: states and the decoder's cache
    denoise: int  # peak while a block is denoised
    decode: int  # peak while a block is decoded

    @property
    def peak(self) -> int:
        """The peak with the text encoder on the device."""
        return self.floor + self.text_encoder

    @property
    def floor(self) -> int:
        """The peak with the text encoder offloaded while blocks are generated."""
        weights = self.transformer + self.vae + self.kept
        return weights + max(self.denoise, self.decode)


def denoise_bytes(config: TransformerConfig, dtype: torch.dtype, latents: tuple[int, ...]) -> int:
    """Peak bytes of a transformer call on latents (1, C, T, h, w), without weights and state."""
    size = {"device": "meta", "dtype": dtype}
    layers, heads, dim = config.num_layers, config.num_attention_heads, config.attention_head_dim
    with torch.device("meta"):
        model = SanaVideoTransformer(config).to(dtype)
    tokens = latents[-2] // config.patch_size[1] * (latents[-1] // config.patch_size[2])
    sums = AttentionState(
        torch.empty(layers, 1, heads, dim, dim, device="meta"),
        torch.empty(layers, 1, heads, dim, device="meta"),
    )
    past = Past(sums, torch.empty(layers, 1, tokens, config.hidden_size, **size))
    shape = (1, config.num_cross_attention_heads, TEXT_TOKENS, config.cross_attention_head_dim)
    keys = tuple(torch.empty(shape, **size) for _ in range(layers))
    text = TextKV(keys, keys, torch.empty(1, 1, 1, TEXT_TOKENS, **size))
    noisy = torch.empty(latents, device="meta")
    times = torch.empty(1, device="meta")
    return peak_bytes(lambda: model.denoise(noisy, times, text, past, 0))


def decode_bytes(
    config: VideoDecoderConfig, dtype: torch.dtype, latents: tuple[int, ...]
) -> tuple[int, int]:
    """Peak bytes of decoding latents (1, C, T', h, w) in mid-stream, and bytes of the cache."""
    with torch.device("meta"):
        decoder = build_decoder(config).to(dtype)
        first, cache = decoder.decode(torch.empty((*latents[:2], 1, *latents[3:])))
        piece = torch.empty(latents)
    del first
    return peak_bytes(lambda: decoder.decode(piece, cache)), cache.nbytes


def max_decode_frames(
    config: VideoDecoderConfig, dtype: torch.dtype, latents: tuple[int, ...], free: int
) -> int:
    """How many latent frames of a block can be decoded at once.

    Args:
        latents: the block's shape (1, C, T', h, w).
        free: free memory in bytes.

    Returns:
        All T', or as many as fit, at least 1.
    """
    frames, factor = latents[2], config.spatial_factor
    pixels = latents[3] * latents[4] * factor**2 * config.temporal_factor * frames
    if pixels * config.decoder_dim * _HARMLESS < free:
        return frames

    def needed(count: int) -> int:
        return decode_bytes(config, dtype, (*latents[:2], count, *latents[3:]))[0]

    one = needed(1)
    further = max(1, needed(2) - one)
    return max(1, min(frames, 1 + int((free * SPARE - one) / further)))


def free_bytes(device: torch.device) -> int:
    """Bytes of free memory on a device, torch's unused reserve included."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return psutil.virtual_memory().available
