"""Conversion of tensor names between the original checkpoint layout and diffusers'.

The original layout is one file with one dictionary of tensors. Queries, keys and values are one
matrix in it, and layers are called `blocks`; all other tensors differ in their names only.
SANA-Video 2.0, which diffusers does not have, gets names after the same pattern.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from sana_stream._text import safe_text
from sana_stream.errors import CheckpointError, ConfigError
from sana_stream.models.config import TransformerConfig

HEAD_DIM = 112  # of every published model; it cannot be inferred from the tensors
_IGNORED = {"pos_embed", "y_embedder.y_embedding", "logvar_linear.weight", "logvar_linear.bias"}

# Name prefixes, original then diffusers', outside and inside a layer.
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
    # SANA-Video 2.0
    "attn_res.attn_proj": "attn_res.attn_proj",
    "attn_res.mlp_proj": "attn_res.mlp_proj",
    "attn_res.final_proj": "attn_res.final_proj",
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
    # SANA-Video 2.0
    "attn.beta_proj": "attn1.to_beta",
    "attn.output_gate": "attn1.to_gate",
    "attn.o_norm": "attn1.norm_out",
    "mlp.gate_proj": "ff.gate_proj",
    "mlp.up_proj": "ff.up_proj",
    "mlp.down_proj": "ff.down_proj",
}
_JOINED = {  # one original matrix with an equal share of rows for each
    "attn.qkv": ("attn1.to_q", "attn1.to_k", "attn1.to_v"),
    "cross_attn.kv_linear": ("attn2.to_k", "attn2.to_v"),
}
_DIFFUSERS = re.compile(r"transformer_blocks\.([0-9]{1,4})\.(.+)")
_ORIGINAL = re.compile(r"blocks\.([0-9]{1,4})\.(.+)")


def from_original(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors of the original layout to diffusers' names.

    Raises:
        CheckpointError: a name that no published file has.
    """
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name in _IGNORED:
            continue
        layer = _ORIGINAL.fullmatch(name)
        table, prefix, rest = _OUTER, "", name
        if layer:
            table, prefix, rest = _LAYER, f"transformer_blocks.{layer[1]}.", layer[2]
        stem, suffix = _split(rest, table.keys() | (_JOINED.keys() if layer else set()))
        if stem is None:
            raise CheckpointError(
                f"{safe_text(name)} is not a tensor of SANA-Video in its original layout"
            )
        if layer and stem in _JOINED:
            parts = _JOINED[stem]
            if not tensor.ndim or not tensor.shape[0] or tensor.shape[0] % len(parts):
                raise CheckpointError(
                    f"{safe_text(name)} has shape {tuple(tensor.shape)}, whose rows are not those"
                    f" of {len(parts)} matrices"
                )
            for part, rows in zip(parts, tensor.chunk(len(parts)), strict=True):
                named[f"{prefix}{part}{suffix}"] = rows
        else:
            named[f"{prefix}{table[stem]}{suffix}"] = tensor
    return named


def to_original(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors of the diffusers layout to the original names; inverse of `from_original`."""
    outer = {new: old for old, new in _OUTER.items()}
    inner = {new: old for old, new in _LAYER.items()}
    first = {parts[0]: (old, parts) for old, parts in _JOINED.items()}
    joined = {part for parts in _JOINED.values() for part in parts}
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        layer = _DIFFUSERS.fullmatch(name)
        table, prefix, rest = outer, "", name
        if layer:
            table, prefix, rest = inner, f"blocks.{layer[1]}.", layer[2]
        stem, suffix = _split(rest, table.keys() | (joined if layer else set()))
        if stem is None:
            raise CheckpointError(
                f"{safe_text(name)} is not a tensor of SANA-Video in diffusers' layout"
            )
        if layer and stem in first:
            old, parts = first[stem]
            rows = [tensors[f"transformer_{prefix}{part}{suffix}"] for part in parts]
            named[f"{prefix}{old}{suffix}"] = torch.cat(rows)
        elif not layer or stem not in joined:
            named[f"{prefix}{table[stem]}{suffix}"] = tensor
    return named


def infer_config(tensors: Mapping[str, Tensor], head_dim: int = HEAD_DIM) -> TransformerConfig:
    """Infer the configuration of tensors under diffusers' names from their shapes.

    Raises:
        CheckpointError: a tensor that every model has is missing, or the width is not a multiple
            of the head width.
    """
    width, channels, *patch_size = shape_of(tensors, "patch_embedding.weight", 5)  # (D, C, 1, p, p)
    inner = shape_of(tensors, "transformer_blocks.0.ff.conv_point.weight", 4)[
        1
    ]  # (D, ratio D, 1, 1)
    caption = shape_of(tensors, "caption_projection.linear_1.weight", 2)[1]  # (D, caption channels)
    out = shape_of(tensors, "proj_out.weight", 2)[0]  # (p p C, D)
    if width % head_dim:
        raise CheckpointError(
            f"width {width} is not a multiple of {head_dim}, the published models' head width;"
            " put diffusers' config.json next to the file"
        )
    values: dict[str, Any] = {
        "in_channels": channels,
        "out_channels": out // (patch_size[0] * patch_size[1] * patch_size[2]),
        "num_attention_heads": width // head_dim,
        "attention_head_dim": head_dim,
        "num_layers": count_layers(tensors),
        "num_cross_attention_heads": width // head_dim,
        "cross_attention_head_dim": head_dim,
        "cross_attention_dim": width,
        "caption_channels": caption,
        "mlp_ratio": inner / width,
        "attention_bias": "transformer_blocks.0.attn1.to_q.bias" in tensors,
        "sample_size": 22 if patch_size[1] == 1 else 30,
        "patch_size": patch_size,
    }
    try:
        return TransformerConfig.from_dict(values, "its tensors")
    except ConfigError as error:
        raise CheckpointError(f"the shapes are not those of SANA-Video: {error}") from error


def count_layers(names: Iterable[str]) -> int:
    """Count the layers of tensors under diffusers' names."""
    return len({match[1] for name in names if (match := _DIFFUSERS.fullmatch(name))})


def our_modules(name: str) -> tuple[str, ...]:
    """Find the diffusers modules that correspond to one module of the original layout.

    A matrix that holds queries, keys and values corresponds to several, with an equal share of
    rows each. Empty where no module has this name.
    """
    layer = _ORIGINAL.fullmatch(name)
    if layer is None:
        return (_OUTER[name],) if name in _OUTER else ()
    parts = _JOINED.get(layer[2]) or ((_LAYER[layer[2]],) if layer[2] in _LAYER else ())
    return tuple(f"transformer_blocks.{layer[1]}.{part}" for part in parts)


def original_modules(layers: Iterable[str]) -> Iterator[str]:
    """List the module names of the original layout, for layers with these numbers."""
    yield from _OUTER
    for layer in layers:
        for stem in (*_LAYER, *_JOINED):
            yield f"blocks.{layer}.{stem}"


def shape_of(tensors: Mapping[str, Tensor], name: str, rank: int) -> tuple[int, ...]:
    """Read the shape of a tensor that every model has.

    Raises:
        CheckpointError: it is missing, empty, or of another rank.
    """
    if name not in tensors:
        raise CheckpointError(f"{name} is missing; this is not a SANA-Video model")
    shape = tuple(tensors[name].shape)
    if len(shape) != rank or not all(shape):
        raise CheckpointError(f"{name} has shape {shape}; this is not a SANA-Video model")
    return shape


def _split(name: str, stems: set[str]) -> tuple[str | None, str]:
    """Split a name into one of the stems and the rest: nothing, `.weight` or `.bias`."""
    for suffix in ("", ".weight", ".bias"):
        if name.endswith(suffix) and name.removesuffix(suffix) in stems:
            return name.removesuffix(suffix), suffix
    return None, ""
