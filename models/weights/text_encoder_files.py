"""Checks of the files in `text_encoder/`, before transformers builds a network from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from sana_stream._text import name_list, safe_text, shape_text
from sana_stream.errors import CheckpointError
from sana_stream.models.config import Count
from sana_stream.models.schema import OpenSchema, check_values, is_idle

from .files import read_json, shards
from .headers import Header, part_headers
from .tokenizer_files import check_small_files

STEMS = ("model.safetensors", "pytorch_model.bin")
_Dtype = Annotated[str, Field(pattern="^(auto|float32|float16|bfloat16)$")]
_CODE = ("auto_map", "custom_object", "kernel_config", "use_kernels")  # downloaded and run
_ATTENTION = ("eager", "sdpa")


class _Fields(OpenSchema):
    """Keys on which a network's size and results depend."""

    model_type: Annotated[str, Field(pattern="^(gemma|gemma2|gemma3_text)$")]
    vocab_size: Annotated[int, Field(ge=1, le=1 << 22)]
    hidden_size: Annotated[int, Field(ge=1, le=1 << 16)]
    intermediate_size: Annotated[int, Field(ge=1, le=1 << 20)]
    num_hidden_layers: Annotated[int, Field(ge=1, le=512)]
    num_attention_heads: Count
    num_key_value_heads: Count
    head_dim: Count
    max_position_embeddings: Annotated[int, Field(ge=1, le=1 << 24)] = 1
    query_pre_attn_scalar: Annotated[float, Field(gt=0, le=1e6)] = 1
    rms_norm_eps: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    rope_theta: Annotated[float, Field(gt=0, le=1e12)] | None = None
    sliding_window: Annotated[int, Field(ge=1, le=1 << 24)] | None = None
    attn_logit_softcapping: Annotated[float, Field(gt=0, le=1e6)] | None = None
    final_logit_softcapping: Annotated[float, Field(gt=0, le=1e6)] | None = None
    attention_dropout: Annotated[float, Field(ge=0, le=1)] = 0
    attention_bias: bool = False
    layer_types: Annotated[list[str], Field(max_length=512)] | None = None
    pad_token_id: Annotated[int, Field(ge=0, lt=1 << 22)] | None = None
    dtype: _Dtype | None = None
    torch_dtype: _Dtype | None = None  # its name in older files
    rope_parameters: Annotated[dict[str, Any], Field(max_length=64)] | None = None


class _Rope(OpenSchema):
    """Parameters of the rotary position embedding."""

    rope_theta: Annotated[float, Field(gt=0, le=1e12)] = 1e4
    rope_type: Annotated[str, Field(max_length=40)] = "default"
    factor: Annotated[float, Field(gt=0, le=1e6)] | None = None


def read_text_config(folder: Path) -> dict[str, Any]:
    """Read the configuration in `text_encoder/` of a model folder.

    Code that the configuration names is never downloaded.

    Raises:
        CheckpointError: it is missing or damaged, or has a value that cannot be used.
    """
    path = folder / "config.json"
    values = read_json(path)
    check_small_files(folder)
    if (folder / "adapter_config.json").exists():
        raise CheckpointError(f"{safe_text(folder)} has an adapter; merge it into the weights")
    if (folder / "generation_config.json").exists():
        read_json(folder / "generation_config.json")  # transformers reads it
    for key in _CODE:
        if not is_idle(values.get(key)):
            raise CheckpointError(f"{safe_text(path)} has {key}, which asks for code to be run")
    for key in ("attn_implementation", "_attn_implementation", "_attn_implementation_internal"):
        if values.get(key) not in (None, *_ATTENTION):
            raise CheckpointError(
                f"{safe_text(path)}: {key} is {safe_text(values[key], 60)}; use"
                f" {' or '.join(_ATTENTION)}"
            )
    checked = check_values(_Fields, values, path, CheckpointError)
    rope = values.get("rope_parameters") or {}
    for part in (rope, *rope.values()):  # one for all layers, or one for each type of layer
        if isinstance(part, dict):
            check_values(_Rope, part, f"{path}: rope_parameters", CheckpointError)
    padding = checked.get("pad_token_id")
    if padding is not None and padding >= checked["vocab_size"]:
        raise CheckpointError(
            f"{safe_text(path)}: pad_token_id is {padding}, and vocab_size {checked['vocab_size']}"
        )
    unset = "sliding_window" in values and checked["sliding_window"] is None
    if unset and checked["model_type"] != "gemma":  # the first Gemma has no window
        raise CheckpointError(
            f"{safe_text(path)}: sliding_window is null; give the number of tokens, or leave it out"
        )
    types = checked.get("layer_types")
    if types is not None and len(types) != checked["num_hidden_layers"]:
        raise CheckpointError(
            f"{safe_text(path)}: layer_types has {len(types)} entries, num_hidden_layers is"
            f" {checked['num_hidden_layers']}"
        )
    return checked


def text_weight_files(folder: Path) -> list[Path]:
    """List the weights files that transformers reads from a folder, in its order.

    Raises:
        CheckpointError: an index that names files elsewhere.
    """
    for stem in STEMS:
        if (folder / stem).exists():
            return [folder / stem]
        index = folder / f"{stem}.index.json"
        if index.exists():
            return shards(index)
    return [folder / STEMS[0]]


def read_text_headers(folder: Path) -> dict[str, Header]:
    """Read dtype and shape of every weight of the text encoder, by plain names."""
    return part_headers(text_weight_files(folder))


def check_text_layers(folder: Path, config: dict[str, Any], headers: dict[str, Header]) -> None:
    """Check the configured number of layers against the files, before a network is created.

    Raises:
        CheckpointError: names both numbers.
    """
    layers = {name.split(".")[1] for name in headers if name.startswith("layers.")}
    if len(layers) != config["num_hidden_layers"]:
        raise CheckpointError(
            f"{safe_text(folder)} has {len(layers)} layers, its config.json asks for"
            f" num_hidden_layers {config['num_hidden_layers']}"
        )


def check_text_shapes(folder: Path, network: nn.Module, headers: dict[str, Header]) -> None:
    """Check the files' headers against a network on the meta device.

    Raises:
        CheckpointError: a weight is missing, which would stay random, or of another shape.
    """
    wanted = dict(network.named_parameters())
    if missing := wanted.keys() - headers.keys():
        raise CheckpointError(
            f"{safe_text(folder)} lacks {name_list(missing)}; the text encoder is not complete"
        )
    for name, parameter in wanted.items():
        dtype, shape = headers[name]
        if shape != tuple(parameter.shape):
            raise CheckpointError(
                f"{safe_text(folder)}: {name} has shape {shape_text(shape)}, its config.json asks"
                f" for {tuple(parameter.shape)}"
            )
        if not getattr(torch, dtype, torch.int8).is_floating_point:
            raise CheckpointError(
                f"{safe_text(folder)}: {name} is of type {safe_text(dtype, 40)}; quantized files"
                " cannot be used"
            )
