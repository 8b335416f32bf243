"""The original checkpoint layout: its keys as diffusers names them, and back.

One file with one dictionary of tensors. Queries, keys and values stand in one matrix there, and
layers are called `blocks`; everything else is a new name for the same tensor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from .config import TransformerConfig
from .errors import CheckpointError

HEAD_DIM = 112  # of every published model; the tensors do not tell it
_IGNORED = {"pos_embed", "y_embedder.y_embedding", "logvar_linear.weight", "logvar_linear.bias"}

# Prefixes of names, original then diffusers', outside and inside a layer.
_OUTER = {
    "x_embedder.proj": "patch_embedding",
    "y_embedder.y_proj.fc1": "caption_projection.linear_1",
    "y_embedder.y_proj.fc2": "caption_projection.linear_2",
    "t_embedder.mlp.0": "time_embed.emb.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_embed.emb.timestep_embedder.linear_2",
    "t_block.1": "time_embed.linear",
    "attention_y_norm": "caption_norm",
    "final_layer.linear": "proj_out",
    "final_layer.scale_shift_table": "scale_shift_table",
}
_LAYER = {
    "scale_shift_table": "scale_shift_table",
    "attn.q_norm": "attn1.norm_q",
    "attn.k_norm": "attn1.norm_k",
    "attn.proj": "attn1.to_out.0",
    "cross_attn.q_linear": "attn2.to_q",
    "cross_attn.q_norm": "attn2.norm_q",
    "cross_attn.k_norm": "attn2.norm_k",
    "cross_attn.proj": "attn2.to_out.0",
    "mlp.inverted_conv.conv": "ff.conv_inverted",
    "mlp.depth_conv.conv": "ff.conv_depth",
    "mlp.point_conv.conv": "ff.conv_point",
    "mlp.t_conv": "ff.conv_temp",
}
_JOINED = {  # one original matrix, its rows shared out evenly
    "attn.qkv": ("attn1.to_q", "attn1.to_k", "attn1.to_v"),
    "cross_attn.kv_linear": ("attn2.to_k", "attn2.to_v"),
}
_OURS = re.compile(r"transformer_blocks\.(\d+)\.(.+)")
_THEIRS = re.compile(r"blocks\.(\d+)\.(.+)")


def from_original(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the original layout under diffusers' names.

    Raises:
        CheckpointError: a name that neither this nor any published file has.
    """
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name in _IGNORED:
            continue
        layer = _THEIRS.fullmatch(name)
        table, prefix, rest = _OUTER, "", name
        if layer:
            table, prefix, rest = _LAYER, f"transformer_blocks.{layer[1]}.", layer[2]
        stem, suffix = _split(rest, table.keys() | (_JOINED.keys() if layer else set()))
        if stem is None:
            raise CheckpointError(f"{name} is not a tensor of SANA-Video in its original layout")
        if layer and stem in _JOINED:
            parts = _JOINED[stem]
            for part, rows in zip(parts, tensor.chunk(len(parts)), strict=True):
                named[f"{prefix}{part}{suffix}"] = rows
        else:
            named[f"{prefix}{table[stem]}{suffix}"] = tensor
    return named


def to_original(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `from_original`."""
    outer = {ours: theirs for theirs, ours in _OUTER.items()}
    inner = {ours: theirs for theirs, ours in _LAYER.items()}
    first = {parts[0]: (theirs, parts) for theirs, parts in _JOINED.items()}
    joined = {part for parts in _JOINED.values() for part in parts}
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        layer = _OURS.fullmatch(name)
        table, prefix, rest = outer, "", name
        if layer:
            table, prefix, rest = inner, f"blocks.{layer[1]}.", layer[2]
        stem, suffix = _split(rest, table.keys() | (joined if layer else set()))
        if stem is None:
            raise CheckpointError(f"{name} is not a tensor of SANA-Video in diffusers' layout")
        if layer and stem in first:
            theirs, parts = first[stem]
            rows = [tensors[f"transformer_{prefix}{part}{suffix}"] for part in parts]
            named[f"{prefix}{theirs}{suffix}"] = torch.cat(rows)
        elif not layer or stem not in joined:
            named[f"{prefix}{table[stem]}{suffix}"] = tensor
    return named


def infer_config(tensors: Mapping[str, Tensor], head_dim: int = HEAD_DIM) -> TransformerConfig:
    """The configuration of tensors under diffusers' names, from their shapes.

    Raises:
        CheckpointError: a tensor that every model has is missing, or the width is not that of
            whole heads.
    """
    try:
        patch = tensors["patch_embedding.weight"]  # (D, C, 1, p, p)
        point = tensors["transformer_blocks.0.ff.conv_point.weight"]  # (D, ratio D, 1, 1)
        caption = tensors["caption_projection.linear_1.weight"]  # (D, caption channels)
        out = tensors["proj_out.weight"]  # (p p C, D)
    except KeyError as error:
        raise CheckpointError(f"{error.args[0]} is missing; this is no SANA-Video model") from error
    width, channels, *patch_size = patch.shape
    if width % head_dim:
        raise CheckpointError(
            f"width {width} is not a multiple of {head_dim}, the published models' head width;"
            " put diffusers' config.json beside the file"
        )
    layers = {match[1] for name in tensors if (match := _OURS.fullmatch(name))}
    return TransformerConfig(
        in_channels=channels,
        out_channels=out.shape[0] // (patch_size[0] * patch_size[1] * patch_size[2]),
        num_attention_heads=width // head_dim,
        attention_head_dim=head_dim,
        num_layers=len(layers),
        num_cross_attention_heads=width // head_dim,
        cross_attention_head_dim=head_dim,
        cross_attention_dim=width,
        caption_channels=caption.shape[1],
        mlp_ratio=point.shape[1] / width,
        attention_bias="transformer_blocks.0.attn1.to_q.bias" in tensors,
        sample_size=22 if patch_size[1] == 1 else 30,
        patch_size=(patch_size[0], patch_size[1], patch_size[2]),
    )


def _split(name: str, stems: set[str]) -> tuple[str | None, str]:
    """A name as one of the stems and what follows it: nothing, `.weight` or `.bias`."""
    for suffix in ("", ".weight", ".bias"):
        if name.endswith(suffix) and name.removesuffix(suffix) in stems:
            return name.removesuffix(suffix), suffix
    return None, ""
