"""Small LTX-2 VAEs of diffusers with random weights, and ours with the same weights."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import torch
from diffusers import AutoencoderKLLTX2Video

from sana_stream.models.vae.causal_ltx2 import CausalLTX2VAE
from sana_stream.models.vae.ltx2 import LTX2VAE
from sana_stream.models.vae.registry import build_vae, read_vae_config

CHANNELS = 8
_COMMON: dict[str, Any] = {"latent_channels": CHANNELS, "spatial_compression_ratio": 32,
                           "temporal_compression_ratio": 8}  # fmt: skip
LTX_2: dict[str, Any] = _COMMON | {
    "block_out_channels": (8, 8, 16, 16),
    "decoder_block_out_channels": (8, 16, 32),
    "layers_per_block": (1, 1, 1, 1, 1),
    "decoder_layers_per_block": (1, 2, 1, 1),
}
LTX_2_3: dict[str, Any] = _COMMON | {  # the pattern of LTX-2.3
    "block_out_channels": (8, 16, 32, 32),
    "decoder_block_out_channels": (8, 16, 16, 32),
    "layers_per_block": (1, 2, 1, 1, 1),
    "decoder_layers_per_block": (1, 1, 1, 1, 2),
    "decoder_spatio_temporal_scaling": (True, True, True, True),
    "decoder_inject_noise": (False,) * 5,
    "downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
    "upsample_type": ("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
    "upsample_residual": (True, True, True, True),
    "upsample_factor": (2, 2, 1, 2),
    "encoder_spatial_padding_mode": "zeros",
    "decoder_spatial_padding_mode": "zeros",
    "scaling_factor": 0.7,
}
PLAIN: dict[str, Any] = {  # levels without scaling or shortcut, other channels on the way up
    "latent_channels": CHANNELS,
    "block_out_channels": (16, 16),
    "down_block_types": ("LTX2VideoDownBlock3D",) * 2,
    "spatio_temporal_scaling": (True, False),
    "layers_per_block": (1, 1, 1),
    "downsample_type": ("spatiotemporal", "spatial"),
    "decoder_block_out_channels": (8, 12),
    "decoder_spatio_temporal_scaling": (True, False),
    "decoder_layers_per_block": (1, 1, 1),
    "decoder_inject_noise": (False,) * 3,
    "upsample_type": ("spatial", "spatiotemporal"),
    "upsample_residual": (False, False),
    "upsample_factor": (1, 1),
    "patch_size": 2,
    "resnet_norm_eps": 1e-2,
    "encoder_spatial_padding_mode": "replicate",
    "decoder_spatial_padding_mode": "circular",
    "spatial_compression_ratio": 4,
    "temporal_compression_ratio": 2,
}
FORMS = {"2": LTX_2, "2.3": LTX_2_3, "plain": PLAIN}
CausalPair = tuple[Any, CausalLTX2VAE]


@cache
def causal_pair(form: str) -> CausalPair:
    """Diffusers' VAE with a causal decoder, and ours."""
    oracle, vae = _pair(FORMS[form] | {"decoder_causal": True})
    assert isinstance(vae, CausalLTX2VAE)
    return oracle, vae


@cache
def other_pair(form: str) -> tuple[Any, LTX2VAE]:
    """Diffusers' VAE with a decoder that is not causal, and ours."""
    oracle, vae = _pair(FORMS[form] | {"decoder_causal": False})
    assert isinstance(vae, LTX2VAE)
    return oracle, vae


def _pair(settings: dict[str, Any]) -> tuple[Any, Any]:
    torch.manual_seed(0)
    oracle: Any = AutoencoderKLLTX2Video(**settings).eval()
    oracle.latents_mean.normal_()
    oracle.latents_std.uniform_(0.5, 2)
    vae = build_vae(read_vae_config(json.loads(oracle.to_json_string())))
    vae.inner.load_state_dict(oracle.state_dict(), strict=True)  # type: ignore[union-attr]
    return oracle, vae.eval().requires_grad_(False)


def denormalized(oracle: Any, latents: torch.Tensor) -> torch.Tensor:
    """Latents as the decoder of diffusers takes them."""
    mean, std = (v.view(-1, 1, 1, 1) for v in (oracle.latents_mean, oracle.latents_std))
    return latents * std / oracle.config.scaling_factor + mean


def normalized(oracle: Any, latents: torch.Tensor) -> torch.Tensor:
    """What the encoder of diffusers gives, as the transformer takes it."""
    mean, std = (v.view(-1, 1, 1, 1) for v in (oracle.latents_mean, oracle.latents_std))
    return (latents - mean) * oracle.config.scaling_factor / std


def error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """The largest difference, relative to the largest value."""
    assert got.shape == wanted.shape
    return float((got - wanted).abs().max() / wanted.abs().max())
