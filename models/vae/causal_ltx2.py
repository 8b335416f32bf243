"""The LTX-2 VAE with a causal decoder, encoding and decoding as a stream without seams.

Shapes: B batch, C = `z_dim`, T frames of H by W pixels, T' latent frames of h by w.
Computes what diffusers' AutoencoderKLLTX2Video with `decoder_causal` computes of a whole clip, and
what NVlabs' AutoencoderKLCausalLTX2Video computes, under the same parameter names.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import check_frames
from .layers import ConvCache, Tails
from .ltx2_config import CausalLTX2Config
from .ltx2_network import LTX2Network
from .streaming import StreamingDecoder, VAECache, matching_tails


class CausalLTX2Decoder(StreamingDecoder):
    """The decoder alone: normalised latents to frames; keeps no state of a stream."""

    has_encoder = False

    def __init__(self, config: CausalLTX2Config) -> None:
        super().__init__()
        self.config = config
        self.inner = LTX2Network(config.layout, self.has_encoder)

    @property
    def decoder(self) -> nn.Module:
        """The decoder network."""
        return self.inner.decoder

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Set the decoder's dtype; encoder and statistics stay in float32."""
        self.inner.float()
        self.inner.decoder.to(dtype)

    def denormalize(self, latents: Tensor) -> Tensor:
        """Check latents and convert them to the input of `decode_frames`."""
        return self.inner.denormalize(latents)

    def decode_frames(self, prepared: Tensor, tails: Tails | None) -> tuple[Tensor, ConvCache]:
        """Decode the output of `denormalize`: float32 frames, not clamped, and the new tails."""
        return self.inner.decode(prepared, tails)


class CausalLTX2VAE(CausalLTX2Decoder):
    """Video autoencoder: frames to normalised latents and back; keeps no state of a stream."""

    has_encoder = True

    @property
    def encoder(self) -> nn.Module:
        """The encoder network."""
        return self.inner.encoder

    def encode(self, frames: Tensor, cache: VAECache | None = None) -> tuple[Tensor, VAECache]:
        """Encode the next frames of a stream to the posterior's mean.

        Args:
            frames: (B, 3, T, H, W) in [-1, 1]. T is 1 + k·n at the start of a stream and k·n
                later, where n is the config's `temporal_factor`.
            cache: the cache that the last call returned; `None` at the start of the stream.

        Returns:
            Float32 latents (B, C, T', h, w), one per n frames and one for the stream's first, and
            the cache for the next call.

        Raises:
            ConfigError: frames of another shape, or the cache of another stream.
        """
        check_frames(frames, self.config.temporal_factor, self.config.spatial_factor, cache is None)
        folded = self.inner.fold_frames(frames)
        latents, tails = self.inner.encode(folded, matching_tails(cache, folded))
        return latents, VAECache(tails)
