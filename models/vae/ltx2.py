"""The LTX-2 VAE whose decoder is not causal, decoded as a stream by overlapping chunks.

Its decoder uses frames on both sides. A chunk is decoded together with the latent frames before
it, and the frames of the overlap are dropped. On the right the decoder has no context, as at the
end of a clip. The beginning of a chunk therefore equals the decoding of the whole clip closely;
towards the end of a chunk the difference grows. `causal_ltx2.py` has no such seams.

The decoder uses about ten latent frames on each side. Measured with random weights of the
published depth and unrelated latents, the first frames after a seam differ by 40 % with an overlap
of 3 latent frames, 10 % with 5, 4 % with 6. Delaying the last frames until the context on their
right is known would delay a stream by 3 s; delaying by one latent frame lowers their difference
from 102 % to 77 % only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import check_frames, check_latents
from .ltx2_config import OVERLAP, LTX2VAEConfig
from .ltx2_network import LTX2Network
from .ltx2_tiles import decode_tiles
from .streaming import VAECache, matching_tails


class LTX2VAE(nn.Module):
    """Video autoencoder with the interface of `WanVAE`: frames to latents and back."""

    def __init__(self, config: LTX2VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.inner = LTX2Network(config.layout)

    @property
    def encoder(self) -> nn.Module:
        """The encoder network."""
        return self.inner.encoder

    @property
    def decoder(self) -> nn.Module:
        """The decoder network."""
        return self.inner.decoder

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Set the decoder's dtype; encoder and statistics stay in float32."""
        self.inner.float()
        self.inner.decoder.to(dtype)

    def encode(self, frames: Tensor, cache: VAECache | None = None) -> tuple[Tensor, VAECache]:
        """Encode as `WanVAE.encode`: the encoder is causal."""
        check_frames(frames, self.config.temporal_factor, self.config.spatial_factor, cache is None)
        folded = self.inner.fold_frames(frames)
        latents, tails = self.inner.encode(folded, matching_tails(cache, folded))
        return latents, VAECache(tails)

    def decode(
        self,
        latents: Tensor,
        cache: VAECache | None = None,
        *,
        clamp: bool = True,
        tiles: bool = False,
    ) -> tuple[Tensor, VAECache]:
        """Decode as `WanVAE.decode`, by overlap: close to decoding the whole, not equal to it.

        With `tiles`, frames over 512 pixels are decoded in overlapping tiles. That takes less
        memory and gives other values, so all blocks of a stream should be decoded in one way.
        """
        check_latents(latents, self.config.z_dim)
        context = latents if cache is None else torch.cat((cache.tails[0], latents), dim=2)
        frames = self._decode_clip(self.inner.denormalize(context), tiles)
        count = latents.shape[2] * self.config.temporal_factor
        if cache is None:
            count -= self.config.temporal_factor - 1  # the first latent frame is a single frame
        frames = frames[:, :, -count:]
        kept = VAECache((context[:, :, -OVERLAP:].clone(),))
        return frames.clamp(-1, 1) if clamp else frames, kept

    def _decode_clip(self, prepared: Tensor, tiles: bool) -> Tensor:
        """Decode a clip as a whole: float32 frames, not clamped."""
        if not tiles:
            return self.inner.decode(prepared, None)[0]
        factor = self.config.spatial_factor
        return decode_tiles(lambda tile: self.inner.decode(tile, None)[0], prepared, factor)


class TiledLTX2:
    """An `LTX2VAE` as a decoder that decodes in tiles."""

    def __init__(self, vae: LTX2VAE) -> None:
        self._vae = vae

    def decode(self, latents: Tensor, cache: VAECache | None = None) -> tuple[Tensor, VAECache]:
        """Decode as `LTX2VAE.decode`."""
        return self._vae.decode(latents, cache, tiles=True)
