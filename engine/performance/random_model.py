"""Engines of published shapes with random weights, for measuring speed and memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from sana_stream.engine.device import resolve_device, resolve_dtype
from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.decoder import (
    CAUSAL,
    TINY,
    check_decoder,
    resolve_decoder,
    resolve_decoder_dtype,
)
from sana_stream.engine.loading.presets import LONGSANA, Preset
from sana_stream.engine.loading.quantize import check_quantization
from sana_stream.engine.loading.sizes import SIZES_720P
from sana_stream.errors import ConfigError
from sana_stream.models.config import TransformerConfig
from sana_stream.models.text_encoder import TextEncoder
from sana_stream.models.transformer import SanaVideoTransformer
from sana_stream.models.vae.causal_ltx2 import CausalLTX2Decoder
from sana_stream.models.vae.config import WanVAEConfig
from sana_stream.models.vae.ltx2_config import CausalLTX2Config, LTX2VAEConfig
from sana_stream.models.vae.registry import SeparateDecoder, VideoVAEConfig, build_vae
from sana_stream.models.vae.taehv import TAEHVConfig, TAEHVDecoder
from sana_stream.models.weights.load import (
    finalize_causal_decoder,
    finalize_taehv,
    finalize_transformer,
    finalize_vae,
)

WEIGHT_SCALE = 0.02
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class ModelShapes:
    """The configurations and the preset of a model."""

    transformer: TransformerConfig
    vae: VideoVAEConfig
    preset: Preset


WAN_2_1 = WanVAEConfig(latents_mean=(0.0,) * 16, latents_std=(1.0,) * 16)
LTX_2 = LTX2VAEConfig.from_dict({"decoder_causal": False})  # diffusers' defaults but for this
CAUSAL_LTX_2 = CausalLTX2Config.from_dict({})
SHAPES: Mapping[str, ModelShapes] = {
    "2b-480p": ModelShapes(TransformerConfig(), WAN_2_1, LONGSANA),
    # in four steps, so that a call and a block can be compared with those of 480p
    "2b-720p": ModelShapes(
        TransformerConfig(in_channels=128, out_channels=128, sample_size=22, patch_size=(1, 1, 1)),
        LTX_2,
        replace(
            LONGSANA,
            name="LongSANA's steps on 720p",
            height=704,
            width=1280,
            sizes=SIZES_720P,
        ),
    ),
    "pocket": ModelShapes(
        TransformerConfig(
            in_channels=96,
            out_channels=96,
            num_attention_heads=6,
            attention_head_dim=32,
            num_layers=6,
            num_cross_attention_heads=6,
            cross_attention_head_dim=32,
            cross_attention_dim=192,
            caption_channels=128,
            sample_size=14,
            patch_size=(1, 1, 1),
        ),
        WanVAEConfig(
            latents_mean=(0.0,) * 96,
            latents_std=(1.0,) * 96,
            base_dim=34,
            decoder_base_dim=32,
            z_dim=96,
            dim_mult=(2, 3, 3),
            num_res_blocks=1,
            temperal_downsample=(True, True),
            in_channels=192,
            out_channels=192,
            patch_size=8,
            scale_factor_temporal=4,
            scale_factor_spatial=32,
        ),
        Preset(
            "pocket",
            height=256,
            width=448,
            block_frames=4,
            timesteps=(1000, 985, 965, 935, 890, 810, 690, 450),
            memory="window=1",
            max_text_tokens=64,
            trained_latent_frames=13,
            sizes=(),
        ),
    ),
}


class RandomTextEncoder(TextEncoder):
    """A text encoder without weights that returns random embeddings."""

    def __init__(self, preset: Preset, width: int, device: torch.device) -> None:
        self._shape = (1, preset.max_text_tokens, width)
        self._device = device

    def encode(self, prompt: str, *, with_instruction: bool = True) -> tuple[Tensor, Tensor]:
        """Embeddings (1, L, C), which depend on the prompt's length, and a mask (1, L) of ones."""
        generator = torch.Generator().manual_seed(len(prompt) * 2 + with_instruction)
        embeds = torch.randn(self._shape, generator=generator).to(self._device)
        return embeds, torch.ones(self._shape[:2], dtype=torch.int64, device=self._device)

    def tokens(self, prompt: str) -> list[int]:
        """The code points of the characters."""
        return list(map(ord, prompt))

    def named_parameters(self, prefix: str) -> Iterator[tuple[str, Tensor]]:
        """No parameters."""
        return iter(())


def random_engine(
    name: str,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    *,
    decoder: str | None = None,
    quantize: str | None = None,
) -> Engine:
    """Create an engine of published shapes on a device.

    Args:
        name: "2b-480p", "2b-720p" or "pocket".
        device, dtype, quantize: as for `Engine.load`.
        decoder: as for `Engine.load`; "tiny" and "causal" without a file have random weights too.

    Raises:
        ConfigError: unknown shapes, device or dtype, or a decoder or quantization that does not
            fit.
    """
    shapes = SHAPES.get(name)
    if shapes is None:
        raise ConfigError(f"shapes {name!r} are not known; use {', '.join(SHAPES)}")
    chosen = resolve_device(device)
    check_quantization(quantize, chosen, resolve_dtype(dtype, chosen))
    engine = engine_of(shapes, chosen, dtype, decoder=decoder)
    engine.quantize(quantize, None)
    return engine


def engine_of(
    shapes: ModelShapes,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    *,
    decoder: str | None = None,
) -> Engine:
    """Create an engine of any shapes, with weights from torch's random generator.

    Args:
        shapes: configurations and preset.
        device, dtype, decoder: as for `random_engine`.

    Raises:
        ConfigError: unknown device or dtype, or a decoder that does not fit.
    """
    chosen = resolve_device(device)
    chosen_dtype = resolve_dtype(dtype, chosen)
    decoder_dtype = resolve_decoder_dtype(dtype, chosen, shapes.vae)
    with torch.device("meta"):
        transformer = SanaVideoTransformer(shapes.transformer, shapes.preset.cross_norm_eps)
        vae = build_vae(shapes.vae)
    text = RandomTextEncoder(shapes.preset, shapes.transformer.caption_channels, chosen)
    engine = Engine(
        finalize_transformer(
            _materialise(transformer.to(chosen_dtype), chosen), chosen_dtype, chosen
        ),
        finalize_vae(_materialise(vae, chosen), decoder_dtype, chosen),
        text,
        shapes.preset,
        chosen,
        chosen_dtype,
        decoder=_decoder(decoder, shapes, chosen, decoder_dtype),
    )
    engine.check_device()
    return engine


def _decoder(
    decoder: str | None, shapes: ModelShapes, device: torch.device, dtype: torch.dtype
) -> SeparateDecoder | None:
    if decoder is None:
        return None
    if decoder not in (TINY, CAUSAL):
        return resolve_decoder(decoder, shapes.vae, shapes.preset.name).load(dtype, device)
    if decoder == TINY:
        check_decoder(TAEHVConfig(), shapes.vae, shapes.preset.name)
        with torch.device("meta"):
            tiny = TAEHVDecoder()
        return finalize_taehv(_materialise(tiny, device), dtype, device)
    check_decoder(CAUSAL_LTX_2, shapes.vae, shapes.preset.name)
    with torch.device("meta"):
        causal = CausalLTX2Decoder(CAUSAL_LTX_2)
    return finalize_causal_decoder(_materialise(causal, device), dtype, device)


def _materialise(model: M, device: torch.device) -> M:
    model = model.to_empty(device=device).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data.fill_(1.0)
        else:
            parameter.data.normal_(std=WEIGHT_SCALE)
    for name, buffer in model.named_buffers():  # statistics of latents
        buffer.fill_(1.0 if name.endswith("std") else 0.0)
    return model
