"""Inference of a SANA-Video 2.0 configuration from the shapes of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sana_stream.errors import CheckpointError, ConfigError
from sana_stream.models.hybrid.config import HybridConfig

from .original_layout import count_layers, shape_of

# Of every published model (5B and 14B); they cannot be inferred from the tensors.
SOFTMAX_HEAD_DIM = 256
CROSS_ATTENTION_HEAD_DIM = 128
ATTN_RES_BLOCK_SIZE = 8


def infer_hybrid_config(tensors: Mapping[str, Tensor]) -> HybridConfig:
    """Infer the configuration of tensors under this program's names from their shapes.

    Raises:
        CheckpointError: a tensor that every model has is missing, the patch is not one latent
            pixel, or the width is not a multiple of the published head widths.
    """
    width, channels, *patch = shape_of(tensors, "patch_embedding.weight", 5)
    if patch != [1, 1, 1]:
        raise CheckpointError(f"patch {tuple(patch)}: SANA-Video 2.0 has (1, 1, 1)")
    if width % SOFTMAX_HEAD_DIM:
        raise CheckpointError(
            f"width {width} is not a multiple of {SOFTMAX_HEAD_DIM}, the published models' head"
            " width; put the config.json of a converted folder next to the file"
        )
    layers = count_layers(tensors)
    linear = [n for n in range(layers) if f"transformer_blocks.{n}.attn1.to_beta.weight" in tensors]
    if not linear:
        raise CheckpointError("it has no linear attention layer; this is not SANA-Video 2.0")
    norm = f"transformer_blocks.{linear[0]}.attn1.norm_out.weight"
    hidden = shape_of(tensors, "transformer_blocks.0.ff.gate_proj.weight", 2)[0]
    values: dict[str, Any] = {
        "in_channels": channels,
        "out_channels": shape_of(tensors, "proj_out.weight", 2)[0],
        "hidden_size": width,
        "num_layers": layers,
        "linear_head_dim": shape_of(tensors, norm, 1)[0],
        "softmax_head_dim": SOFTMAX_HEAD_DIM,
        "cross_attention_head_dim": CROSS_ATTENTION_HEAD_DIM,
        "softmax_layers": sorted(set(range(layers)).difference(linear)),
        "attn_res_block_size": ATTN_RES_BLOCK_SIZE,
        "caption_channels": shape_of(tensors, "caption_projection.linear_1.weight", 2)[1],
        "mlp_ratio": hidden / width,
    }
    try:
        return HybridConfig.from_dict(values, "its tensors")
    except ConfigError as error:
        raise CheckpointError(f"the shapes are not those of SANA-Video 2.0: {error}") from error
