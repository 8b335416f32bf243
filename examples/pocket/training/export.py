"""Export of the model folder: the published diffusers layout, with `stream.json` and
`vocabulary.json`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sana_stream.models.config import TransformerConfig
from sana_stream.models.vae.config import WanVAEConfig
from sana_stream.models.vae.wan import WanVAE
from storybook.topics import topics
from storybook.world import FPS, HEIGHT, WIDTH

from .autoencoder import CONFIG as LATENTS
from .clips import BLOCK_FRAMES
from .networks import CONFIG, Networks
from .step import MEMORY, TIMESTEPS
from .text import MAX_TOKENS, SPECIAL

WEIGHTS = "diffusion_pytorch_model.safetensors"


def export(
    folder: Path,
    vae_weights: dict[str, Tensor],
    weights: dict[str, Tensor],
    trained_blocks: int,
) -> None:
    """Write the model folder.

    Args:
        folder: the destination; existing files are replaced.
        vae_weights: float32 weights of the autoencoder, by parameter name.
        weights: float32 weights of `Networks`, by parameter name.
        trained_blocks: number of blocks of the longest clips in training.
    """
    networks = Networks()
    networks.load_state_dict(weights, strict=False)
    vae = WanVAE(LATENTS)
    vae.load_state_dict(vae_weights)
    _write_json(folder / "model_index.json", _model_index())
    _write_json(folder / "stream.json", _preset(trained_blocks))
    _write_json(folder / "vocabulary.json", {"topics": topics()})
    _write_part(folder / "transformer", _transformer_config(CONFIG), networks.transformer, WEIGHTS)
    _write_part(folder / "vae", _vae_config(LATENTS), vae, WEIGHTS)
    networks.text.config.architectures = ["Gemma2Model"]
    text = networks.text.bfloat16()
    text.save_pretrained(folder / "text_encoder")
    _write_tokenizer(folder / "tokenizer", networks)
    _write_json(folder / "scheduler" / "scheduler_config.json", _scheduler())


def _write_part(folder: Path, config: dict[str, Any], module: nn.Module, file: str) -> None:
    _write_json(folder / "config.json", config)
    tensors = {k: _stored(v).contiguous() for k, v in module.state_dict().items()}
    save_file(tensors, folder / file, metadata={"format": "pt"})


def _stored(tensor: Tensor) -> Tensor:
    """Round to bfloat16; zeros, as all residual branches of the encoder, take one byte each."""
    return tensor.to(torch.bfloat16 if tensor.any() else torch.float8_e4m3fn)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _write_tokenizer(folder: Path, networks: Networks) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = networks.tokenizer
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(folder / "tokenizer.json"))
    names = dict(zip(("pad_token", "eos_token", "bos_token", "unk_token"), SPECIAL, strict=True))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "padding_side": "right",
            "model_max_length": MAX_TOKENS,
            **names,
        },
    )


def _model_index() -> dict[str, Any]:
    return {
        "_class_name": "SanaVideoPipeline",
        "_diffusers_version": "0.36.0",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Gemma2Model"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": ["diffusers", "SanaVideoTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }


def _preset(trained_blocks: int) -> dict[str, Any]:
    return {
        "name": "pocket",
        "fps": FPS,
        "height": HEIGHT,
        "width": WIDTH,
        "block_frames": BLOCK_FRAMES,
        "timesteps": list(TIMESTEPS),
        "guidance": 1.0,
        "memory": MEMORY,
        "instruction": [],
        "motion_score": "",
        "max_text_tokens": MAX_TOKENS,
        "trained_latent_frames": 1 + BLOCK_FRAMES * trained_blocks,
    }


def _transformer_config(config: TransformerConfig) -> dict[str, Any]:
    return {
        "_class_name": "SanaVideoTransformer3DModel",
        **{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()},
        "dropout": 0.0,
        "guidance_embeds": False,
        "norm_elementwise_affine": False,
        "qk_norm": "rms_norm_across_heads",
        "rope_max_seq_len": 1024,
    }


def _vae_config(config: WanVAEConfig) -> dict[str, Any]:
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}
    factors = {
        "scale_factor_temporal": config.temporal_factor,
        "scale_factor_spatial": config.spatial_factor,
    }
    return {"_class_name": "AutoencoderKLWan", **values, **factors}


def _scheduler() -> dict[str, Any]:
    return {
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "num_train_timesteps": 1000,
        "shift": 1.0,
    }
