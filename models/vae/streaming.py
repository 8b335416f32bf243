"""The cache between the calls of a streamed VAE, and the call that decodes a stream's next latents.

Shapes: B batch, C = `z_dim`, T frames of H by W pixels, T' latent frames of h by w.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from sana_stream.errors import ConfigError

from .layers import ConvCache, Tails


@dataclass(frozen=True, slots=True)
class VAECache:
    """Input frames that each causal convolution needs again in a stream's next call.

    Its size is proportional to that of a frame. No call changes a cache it was given, so an older
    cache is a snapshot. A `SingleUseCache` is emptied by the call.
    """

    tails: ConvCache  # each (B, channels, 1 or 2, height, width), in the VAE's dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tail.nbytes for tail in self.tails)

    @property
    def is_storable(self) -> bool:
        """Whether snapshots may hold it; one on another device is used once."""
        return True

    def take(self) -> Tails:
        """The tails as a list, for the layers to remove theirs from."""
        return list(self.tails)

    def for_single_use(self) -> VAECache:
        """The same cache, emptied by the next call; this one must not be used any more."""
        return SingleUseCache(self.tails)


@dataclass(frozen=True, slots=True)
class SingleUseCache(VAECache):
    """A cache that one call empties, which frees each tail before it makes the new one.

    For the only reference to a cache: old and new one are not in memory at the same time. A call
    that fails may have emptied it.
    """

    def take(self) -> Tails:
        """The tails as a list; the cache has none afterwards."""
        tails = list(self.tails)
        object.__setattr__(self, "tails", ())
        return tails


def matching_tails(cache: VAECache | None, x: Tensor, channels: int | None = None) -> Tails | None:
    """Take the tails of a cache for a call, after checking that the first one fits the input `x`.

    Args:
        cache: what the stream's last call returned; `None` at the start of the stream.
        x: (B, C, T', h, w), the decoder's input.
        channels: of the first layer that has a tail, where they are not those of `x`.

    Raises:
        ConfigError: the cache of another stream.
    """
    if cache is None:
        return None
    tail = cache.tails[0]
    given = (*tail.shape[:2], *tail.shape[3:], tail.dtype)
    wanted = (x.shape[0], channels or x.shape[1], *x.shape[3:], x.dtype)
    if given != wanted:
        raise ConfigError(
            f"the cache belongs to a stream of (B, C, H, W, dtype) {given}, this one has {wanted}; "
            "give the cache that this stream's last call returned"
        )
    return cache.take()


class StreamingDecoder(nn.Module, ABC):
    """Base of VAEs whose causal decoder keeps the frames that it needs again in a `VAECache`."""

    def decode(
        self, latents: Tensor, cache: VAECache | None = None, *, clamp: bool = True
    ) -> tuple[Tensor, VAECache]:
        """Decode the next latents of a stream.

        Args:
            latents: (B, C, T', h, w), normalised, T' ≥ 1.
            cache: the cache that the last call returned; `None` at the start of the stream.
            clamp: limit values to [-1, 1]; off for training.

        Returns:
            Float32 frames (B, 3, T, H, W), `temporal_factor` per latent frame and one for the
            stream's first, and the cache for the next call.

        Raises:
            ConfigError: latents of another shape, or the cache of another stream.
        """
        prepared = self.denormalize(latents)
        frames, tails = self.decode_frames(prepared, matching_tails(cache, prepared))
        return frames.clamp(-1, 1) if clamp else frames, VAECache(tails)

    @abstractmethod
    def denormalize(self, latents: Tensor) -> Tensor:
        """Check latents and convert them to the input of `decode_frames`."""

    @abstractmethod
    def decode_frames(self, prepared: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        """Decode the output of `denormalize`: float32 frames, not clamped, and the new tails."""
