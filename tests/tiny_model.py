"""Write a small random SANA-Video checkpoint with diffusers' and transformers' classes."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    SanaVideoPipeline,
    SanaVideoTransformer3DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import Gemma2Config, Gemma2Model, PreTrainedTokenizerFast

CAPTION_CHANNELS = 24
WORDS = "a the red blue boat train fox sails runs night day falls rises over sea hill sun moon"


def save_tiny_model(
    folder: Path,
    preset: dict[str, object] | None = None,
    channels: int = 4,
    caption_channels: int = CAPTION_CHANNELS,
) -> Path:
    """Write the model folder.

    Args:
        preset: becomes its stream.json.
        channels: of the latents.
        caption_channels: of the text encoder, a multiple of 4.
    """
    torch.manual_seed(0)
    pipeline = SanaVideoPipeline(
        tokenizer=tiny_tokenizer(),
        text_encoder=tiny_text_encoder(caption_channels),
        vae=tiny_vae(channels),
        transformer=tiny_transformer(channels, caption_channels),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=8.0),  # type: ignore[arg-type]
    )
    pipeline.save_pretrained(folder)
    settings = {
        "name": "tiny",
        "height": 32,
        "width": 48,
        "block_frames": 2,
        "max_text_tokens": 12,
        "instruction": ["the night falls", "red: "],
    }
    (folder / "stream.json").write_text(json.dumps(settings | (preset or {})))
    return folder


def tiny_transformer(
    channels: int = 4, caption_channels: int = CAPTION_CHANNELS
) -> SanaVideoTransformer3DModel:
    model = SanaVideoTransformer3DModel(
        in_channels=channels,
        out_channels=channels,
        num_attention_heads=2,
        attention_head_dim=14,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=14,
        cross_attention_dim=28,
        caption_channels=caption_channels,
        mlp_ratio=2.0,
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def tiny_vae(channels: int = 4) -> AutoencoderKLWan:
    return AutoencoderKLWan(
        base_dim=4,
        z_dim=channels,
        dim_mult=[1, 2, 2, 2],
        num_res_blocks=1,
        latents_mean=[0.1, -0.2, 0.3, 0.0] * (channels // 4),
        latents_std=[1.5, 0.8, 1.0, 2.0] * (channels // 4),
    )


def tiny_text_encoder(width: int = CAPTION_CHANNELS) -> Gemma2Model:
    config = Gemma2Config(
        vocab_size=64,
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=12,
        query_pre_attn_scalar=12,
        max_position_embeddings=128,
    )
    return Gemma2Model(config)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    specials = ["<pad>", "<eos>", "<bos>", "<unk>"]
    vocabulary = {word: i for i, word in enumerate([*specials, *WORDS.split(), ":", ".", ","])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        padding_side="right",
    )
