"""The published SANA-Video models in small: their configuration files, with random weights.

The texts are those of the files on the Hugging Face hub, with sizes that a test can generate with.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLLTX2Video, SanaVideoTransformer3DModel
from safetensors.torch import save_file

from .tiny_model import CAPTION_CHANNELS, tiny_text_encoder, tiny_tokenizer, tiny_vae

WEIGHTS = "diffusion_pytorch_model.safetensors"


def index(version: str, transformer: str, vae: str) -> dict[str, Any]:
    """A published model_index.json."""
    return {
        "_class_name": "SanaVideoPipeline",
        "_diffusers_version": version,
        "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
        "text_encoder": ["transformers", "Gemma2Model"],
        "tokenizer": ["transformers", "GemmaTokenizerFast"],
        "transformer": ["diffusers", transformer],
        "vae": ["diffusers", vae],
    }


CAUSAL = "SanaVideoCausalTransformer3DModel"
INDEX = {
    "480p": index("0.36.0.dev0", "SanaVideoTransformer3DModel", "AutoencoderKLWan"),
    "LongLive": index("0.36.0.dev0", CAUSAL, "AutoencoderKLWan"),
    "720p": index("0.38.0.dev0", "SanaVideoTransformer3DModel", "AutoencoderKLLTX2Video"),
}
TRANSFORMER: dict[str, Any] = {  # of 480p
    "_class_name": "SanaVideoTransformer3DModel",
    "_diffusers_version": "0.36.0.dev0",
    "attention_bias": False,
    "attention_head_dim": 112,
    "caption_channels": 2304,
    "cross_attention_dim": 2240,
    "cross_attention_head_dim": 112,
    "dropout": 0.0,
    "guidance_embeds": False,
    "guidance_embeds_scale": 0.1,
    "in_channels": 16,
    "interpolation_scale": None,
    "mlp_ratio": 3.0,
    "norm_elementwise_affine": False,
    "norm_eps": 1e-06,
    "num_attention_heads": 20,
    "num_cross_attention_heads": 20,
    "num_layers": 20,
    "out_channels": 16,
    "patch_size": [1, 2, 2],
    "qk_norm": "rms_norm_across_heads",
    "rope_max_seq_len": 1024,
    "sample_size": 30,
}
SMALL_TRANSFORMER: dict[str, Any] = {
    "attention_head_dim": 14,
    "caption_channels": CAPTION_CHANNELS,
    "cross_attention_dim": 28,
    "cross_attention_head_dim": 14,
    "num_attention_heads": 2,
    "num_cross_attention_heads": 2,
    "num_layers": 1,
}
OF_720P: dict[str, Any] = {
    "in_channels": 128,
    "out_channels": 128,
    "patch_size": [1, 1, 1],
    "sample_size": 22,
}
VAE_720P: dict[str, Any] = {
    "_class_name": "AutoencoderKLLTX2Video",
    "_diffusers_version": "0.38.0.dev0",
    "_name_or_path": "Lightricks/LTX-2",
    "block_out_channels": [256, 512, 1024, 2048],
    "decoder_block_out_channels": [256, 512, 1024],
    "decoder_causal": False,
    "decoder_inject_noise": [False, False, False, False],
    "decoder_layers_per_block": [5, 5, 5, 5],
    "decoder_spatial_padding_mode": "reflect",
    "decoder_spatio_temporal_scaling": [True, True, True],
    "decoder_upsample_type": None,
    "down_block_types": ["LTX2VideoDownBlock3D"] * 4,
    "downsample_type": ["spatial", "temporal", "spatiotemporal", "spatiotemporal"],
    "encoder_causal": True,
    "encoder_spatial_padding_mode": "zeros",
    "in_channels": 3,
    "latent_channels": 128,
    "layers_per_block": [4, 6, 6, 2, 2],
    "out_channels": 3,
    "patch_size": 4,
    "patch_size_t": 1,
    "resnet_norm_eps": 1e-06,
    "scaling_factor": 1.0,
    "spatial_compression_ratio": 32,
    "spatio_temporal_scaling": [True, True, True, True],
    "temporal_compression_ratio": 8,
    "timestep_conditioning": False,
    "upsample_factor": [2, 2, 2],
    "upsample_residual": [True, True, True],
}
SMALL_VAE: dict[str, Any] = {
    "block_out_channels": [8, 8, 8, 8],
    "decoder_block_out_channels": [8, 16, 32],
    "decoder_layers_per_block": [1, 1, 1, 1],
    "layers_per_block": [1, 1, 1, 1, 1],
}
SCHEDULER = """{
  "_class_name": "DPMSolverMultistepScheduler",
  "_diffusers_version": "0.36.0.dev0",
  "algorithm_type": "dpmsolver++",
  "beta_end": 0.02,
  "beta_schedule": "linear",
  "beta_start": 0.0001,
  "dynamic_thresholding_ratio": 0.995,
  "euler_at_final": false,
  "final_sigmas_type": "zero",
  "flow_shift": 8.0,
  "lambda_min_clipped": -Infinity,
  "lower_order_final": true,
  "num_train_timesteps": 1000,
  "prediction_type": "flow_prediction",
  "rescale_betas_zero_snr": false,
  "sample_max_value": 1.0,
  "solver_order": 2,
  "solver_type": "midpoint",
  "steps_offset": 0,
  "thresholding": false,
  "timestep_spacing": "linspace",
  "trained_betas": null,
  "use_beta_sigmas": false,
  "use_exponential_sigmas": false,
  "use_flow_sigmas": true,
  "use_karras_sigmas": false,
  "use_lu_lambdas": false,
  "variance_type": null
}"""
NAMES = tuple(INDEX)


def save_published_model(folder: Path, name: str) -> Path:
    """Write the folder of a published model: `480p`, `LongLive` or `720p`."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps(INDEX[name], indent=2))
    transformer = TRANSFORMER | SMALL_TRANSFORMER | (OF_720P if name == "720p" else {})
    transformer["_class_name"] = INDEX[name]["transformer"][1]
    _save(folder / "transformer", SanaVideoTransformer3DModel, transformer)
    if name == "720p":
        _save(folder / "vae", AutoencoderKLLTX2Video, VAE_720P | SMALL_VAE)
    else:
        tiny_vae(16).save_pretrained(folder / "vae")
    tiny_text_encoder().save_pretrained(folder / "text_encoder")
    tiny_tokenizer().save_pretrained(folder / "tokenizer")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(SCHEDULER)
    return folder


def _save(part: Path, kind: Any, config: dict[str, Any]) -> None:
    """Write a configuration as it is, and the weights of the network that it describes."""
    network = kind.from_config({key: value for key, value in config.items() if key[0] != "_"})
    part.mkdir()
    (part / "config.json").write_text(json.dumps(config, indent=2))
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, part / WEIGHTS)
