"""What paints a stream's pictures: the checkpoint's own VAE, or the small decoder."""

from __future__ import annotations

from .tiny_decoder import TinyDecoder, TinyDecoderConfig
from .vae_any import AnyVae, AnyVaeConfig, make_vae

AnyDecoder = AnyVae | TinyDecoder
AnyDecoderConfig = AnyVaeConfig | TinyDecoderConfig


def make_decoder(config: AnyDecoderConfig) -> AnyDecoder:
    """The decoder of a configuration, on torch's default device, without weights."""
    return TinyDecoder() if isinstance(config, TinyDecoderConfig) else make_vae(config)
