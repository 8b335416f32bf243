"""Engines with random weights: their sizes, and that they run as a checkpoint's engine."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from sana_stream.engine.loading.locate import resolve_model
from sana_stream.engine.loading.presets import preset_for
from sana_stream.engine.performance.random_model import (
    LTX_2,
    SHAPES,
    WAN_2_1,
    ModelShapes,
    engine_of,
    random_engine,
)
from sana_stream.errors import ConfigError
from sana_stream.models.config import TransformerConfig
from sana_stream.models.vae.causal_ltx2 import CausalLTX2Decoder
from sana_stream.models.vae.config import WanVAEConfig
from sana_stream.models.vae.ltx2_config import CausalLTX2Config, LTX2VAEConfig
from sana_stream.models.vae.registry import build_vae
from sana_stream.models.vae.taehv import TAEHVDecoder

PARTS = ("transformer", "vae")
SMALL = TransformerConfig(
    num_attention_heads=2,
    attention_head_dim=14,
    num_layers=1,
    num_cross_attention_heads=2,
    cross_attention_head_dim=14,
    cross_attention_dim=28,
    caption_channels=24,
)


def shapes(vae, **transformer: object) -> ModelShapes:
    preset = replace(SHAPES["pocket"].preset, height=64, width=64, block_frames=2)
    return ModelShapes(replace(SMALL, **transformer), vae, preset)  # type: ignore[arg-type]


@torch.no_grad()
def test_720p_vae_has_the_stated_sizes():
    preset, config = SHAPES["2b-720p"].preset, SHAPES["2b-720p"].transformer
    assert (preset.height, preset.width, config.in_channels) == (704, 1280, 128)
    with torch.device("meta"):
        vae = build_vae(LTX_2)
        pictures, _ = vae.decode(torch.empty(1, 128, 2, 2, 3))
        latents, _ = vae.encode(torch.empty(1, 3, 9, 64, 96))
    assert pictures.shape == (1, 3, 9, 64, 96)
    assert latents.shape == (1, 128, 2, 2, 3)


def test_overlapping_vae_streams():
    small = {
        "latent_channels": 8,
        "block_out_channels": [8, 8, 8, 8],
        "decoder_block_out_channels": [8, 16, 32],
        "layers_per_block": [1, 1, 1, 1, 1],
        "decoder_layers_per_block": [1, 1, 1, 1],
        "decoder_causal": False,
    }
    vae = LTX2VAEConfig.from_dict(small)
    model = shapes(vae, in_channels=8, out_channels=8, patch_size=(1, 1, 1))
    engine = engine_of(model, "cpu", "float32")
    blocks = list(itertools.islice(engine.session("a red boat"), 2))
    assert [block.frames.shape for block in blocks] == [(17, 64, 64, 3), (16, 64, 64, 3)]
    assert blocks[1].frames.std() > 0


def test_random_tiny_decoder_streams():
    vae = replace(WAN_2_1, base_dim=4, dim_mult=(1, 2, 2, 2), num_res_blocks=1)
    small, full = (engine_of(shapes(vae), "cpu", "float32", decoder=d) for d in ("tiny", None))
    assert isinstance(small.decoder, TAEHVDecoder)
    assert full.decoder is full.vae
    pictures = next(small.session("a red boat")).frames
    assert pictures.shape == (9, 64, 64, 3)
    assert np.ptp(pictures) > 0


def test_random_causal_decoder_streams(monkeypatch: pytest.MonkeyPatch):
    small = {
        "latent_channels": 8,
        "block_out_channels": [8, 8, 8, 8],
        "decoder_block_out_channels": [8, 16, 32],
        "layers_per_block": [1, 1, 1, 1, 1],
        "decoder_layers_per_block": [1, 1, 1, 1],
    }
    monkeypatch.setattr(
        "sana_stream.engine.performance.random_model.CAUSAL_LTX_2",
        CausalLTX2Config.from_dict(small),
    )
    vae = LTX2VAEConfig.from_dict(small | {"decoder_causal": False})
    model = shapes(vae, in_channels=8, out_channels=8, patch_size=(1, 1, 1))
    engine = engine_of(model, "cpu", "float32", decoder="causal")
    assert isinstance(engine.decoder, CausalLTX2Decoder)
    blocks = list(itertools.islice(engine.session("a red boat"), 2))
    assert [block.frames.shape for block in blocks] == [(17, 64, 64, 3), (16, 64, 64, 3)]
    with pytest.raises(ConfigError, match="the causal decoder decodes latents of 8 channels"):
        engine_of(shapes(WAN_2_1), "cpu", "float32", decoder="causal")


def test_pocket_shapes_equal_the_embedded_model():
    folder, shapes = resolve_model("pocket"), SHAPES["pocket"]
    parts = {part: json.loads((folder / part / "config.json").read_text()) for part in PARTS}
    assert TransformerConfig.from_dict(parts["transformer"]) == shapes.transformer
    assert WanVAEConfig.from_dict(parts["vae"]) == shapes.vae
    assert preset_for(folder, "pocket") == shapes.preset


def test_unsupported_decoder_and_quantization_are_refused():
    with pytest.raises(ConfigError, match=r"pocket's VAE has 96 channels.*; leave decoder out"):
        random_engine("pocket", "cpu", decoder="tiny")
    with pytest.raises(ConfigError, match="fp8 needs an NVIDIA GPU"):
        random_engine("pocket", "cpu", quantize="fp8")
