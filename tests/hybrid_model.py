"""Write a small random SANA-Video 2.0: a file in the original layout, and the folder of its parts.

The VAE has the structure of LTX-2.3's: four levels of different kinds, the third one without a
change of its channels.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLLTX2Video
from torch import Tensor

from sana_stream.models.hybrid.config import HybridConfig
from sana_stream.models.hybrid.transformer import HybridTransformer
from sana_stream.models.weights.original_layout import to_original

from .tiny_model import CAPTION_CHANNELS, tiny_text_encoder, tiny_tokenizer

CHANNELS = 4
# the head widths are the published ones, which a file does not have
CONFIG = HybridConfig(
    in_channels=CHANNELS,
    out_channels=CHANNELS,
    hidden_size=256,
    num_layers=4,
    softmax_layers=(3,),
    caption_channels=CAPTION_CHANNELS,
    mlp_ratio=1.0,
)
LTX_2_3: dict[str, Any] = {
    "latent_channels": CHANNELS,
    "block_out_channels": (8, 8, 16, 16),
    "down_block_types": ("LTX2VideoDownBlock3D",) * 4,
    "decoder_block_out_channels": (8, 16, 16, 32),
    "layers_per_block": (1, 1, 1, 1, 1),
    "decoder_layers_per_block": (1, 1, 1, 1, 1),
    "spatio_temporal_scaling": (True,) * 4,
    "decoder_spatio_temporal_scaling": (True,) * 4,
    "decoder_inject_noise": (False,) * 5,
    "downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
    "upsample_type": ("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
    "upsample_residual": (False,) * 4,
    "upsample_factor": (2, 2, 1, 2),
    "encoder_causal": True,
    "decoder_causal": False,
    "encoder_spatial_padding_mode": "zeros",
    "decoder_spatial_padding_mode": "zeros",
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
}


def hybrid_tensors(config: HybridConfig = CONFIG) -> dict[str, Tensor]:
    """Random weights under their published names, with the buffers that published files have."""
    network = HybridTransformer(config)
    generator = torch.Generator().manual_seed(7)
    for name, parameter in network.named_parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.05
        if "norm" in name:
            parameter.data += 1
    buffers = {
        "pos_embed": torch.zeros(1, 4, config.hidden_size),
        "y_embedder.y_embedding": torch.zeros(300, config.caption_channels),
    }
    return to_original(network.state_dict()) | buffers


def save_hybrid_model(file: Path, key: str = "state_dict") -> Path:
    """Write a transformer as the authors publish it, below `key`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({key: hybrid_tensors()}, file)
    return file


def save_hybrid_parts(folder: Path) -> Path:
    """Write the VAE, text encoder and tokenizer that go with it."""
    torch.manual_seed(3)
    vae: Any = AutoencoderKLLTX2Video(**LTX_2_3)
    vae.latents_mean.normal_()
    vae.latents_std.uniform_(0.5, 2)
    vae.save_pretrained(folder / "vae")
    tiny_text_encoder().save_pretrained(folder / "text_encoder")
    tiny_tokenizer().save_pretrained(folder / "tokenizer")
    index = {"_class_name": "SanaVideoPipeline"}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
