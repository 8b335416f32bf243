"""The Wan 2.1 causal video autoencoder, read and written as a stream.

Shapes: B batch, C = `z_dim`, T pictures of H by W pixels, T' latent frames of h by w.
Computes what diffusers' AutoencoderKLWan computes, under the same parameter names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from .errors import ConfigError
from .vae_config import VaeConfig
from .vae_decoder import Decoder
from .vae_encoder import Encoder
from .vae_layers import Tails
from .vae_shapes import check_frames, check_latents


@dataclass(frozen=True, slots=True)
class VaeCache:
    """What one stream must keep between two calls: a few frames before each convolution.

    Its size is that of the pictures times a constant. No call changes a cache it was given, so
    an older one is a snapshot.
    """

    tails: Tails  # each (B, channels, 1 or 2, height, width), in the VAE's dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors together."""
        return sum(tail.nbytes for tail in self.tails)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name, contiguous, for saving; `from_tensors` takes them back."""
        return {f"tail_{i:02d}": tail.contiguous() for i, tail in enumerate(self.tails)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> VaeCache:
        """The cache whose `tensors()` these are, on any device."""
        return cls(tuple(tensors[f"tail_{i:02d}"] for i in range(len(tensors))))


class WanVAE(nn.Module):
    """Pictures to normalised latents and back; holds parameters only, never a stream's state.

    Each half computes in its own parameters' dtype; normalises in float32.
    """

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quant_conv = nn.Conv3d(2 * config.z_dim, 2 * config.z_dim, 1)
        self.post_quant_conv = nn.Conv3d(config.z_dim, config.z_dim, 1)
        self.decoder = Decoder(config)

    def encode(self, frames: Tensor, cache: VaeCache | None = None) -> tuple[Tensor, VaeCache]:
        """The posterior's mean for the next pictures of a stream, and the cache for the rest.

        frames (B, 3, T, H, W) in [-1, 1]: with no cache (start of the stream) T = 1 + n·k
        pictures, later n·k, where n is the config's `temporal_factor`. Returns float32 latents
        (B, C, T', h, w), one per n pictures and one for the stream's first. Raises ConfigError
        for other sizes and for a cache of another stream.
        """
        check_frames(frames, self.config.temporal_factor, self.config.spatial_factor, cache is None)
        x = _fold(frames.to(self.quant_conv.weight.dtype), self.config.patch)
        moments, tails = self.encoder(x, _tails(cache, x))
        mean, _ = self.quant_conv(moments).chunk(2, dim=1)
        shift, scale = self._statistics(mean.device)
        return (mean.float() - shift) / scale, VaeCache(tails)

    def decode(
        self, latents: Tensor, cache: VaeCache | None = None, *, clamp: bool = True
    ) -> tuple[Tensor, VaeCache]:
        """The pictures of the next latents of a stream, and the cache for the rest.

        latents (B, C, T', h, w), normalised, T' ≥ 1; no cache is the start of the stream. Returns
        float32 frames (B, 3, T, H, W): `temporal_factor` pictures per latent frame, one for the
        stream's first; inside [-1, 1] unless `clamp` is off (training). Raises ConfigError for
        other shapes and for a cache of another stream.
        """
        prepared = self.prepare(latents)
        frames, tails = self.paint(prepared, _tails(cache, prepared))
        return frames.clamp(-1, 1) if clamp else frames, VaeCache(tails)

    def prepare(self, latents: Tensor) -> Tensor:
        """Latents as `paint` takes them; all of `decode` that depends on more than tensors."""
        check_latents(latents, self.config.z_dim)
        shift, scale = self._statistics(latents.device)
        return (latents.float() * scale + shift).to(self.post_quant_conv.weight.dtype)

    def paint(self, prepared: Tensor, tails: Tails | None) -> tuple[Tensor, Tails]:
        """Float32 frames, not clamped, of prepared latents behind the tails; and the new tails."""
        x, kept = self.decoder(self.post_quant_conv(prepared), tails)
        return _unfold(x, self.config.patch).float(), kept

    def _statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        # not buffers: a bfloat16 module must still normalise in float32
        values = torch.tensor((self.config.latents_mean, self.config.latents_std), device=device)
        mean, std = values.view(2, 1, -1, 1, 1, 1)
        return mean, std


def _tails(cache: VaeCache | None, x: Tensor) -> Tails | None:
    """The cache's tails, once the first one is seen to fit the input that it comes before."""
    if cache is None:
        return None
    tail = cache.tails[0]
    given = (*tail.shape[:2], *tail.shape[3:], tail.dtype)
    wanted = (*x.shape[:2], *x.shape[3:], x.dtype)
    if given != wanted:
        raise ConfigError(
            f"the cache belongs to a stream of (B, C, H, W, dtype) {given}, this one has {wanted}; "
            "give the cache that this stream's last call returned"
        )
    return cache.tails


def _fold(frames: Tensor, p: int) -> Tensor:
    return rearrange(frames, "b c t (h ph) (w pw) -> b (c pw ph) t h w", ph=p, pw=p)


def _unfold(x: Tensor, p: int) -> Tensor:
    return rearrange(x, "b (c pw ph) t h w -> b c t (h ph) (w pw)", ph=p, pw=p)
