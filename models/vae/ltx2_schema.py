"""Keys of an LTX-2 VAE's `vae/config.json`: allowed values, defaults, and what is implemented."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from sana_stream._text import safe_text
from sana_stream.errors import ConfigError
from sana_stream.models.schema import Schema, from_known_keys

from .config import MAX_LEVELS, Count

Stride = tuple[int, int, int]  # over frames, rows and columns
DOWN_BLOCK = "LTX2VideoDownBlock3D"
STRIDES: Mapping[str, Stride] = {
    "spatial": (1, 2, 2),
    "temporal": (2, 1, 1),
    "spatiotemporal": (2, 2, 2),
}
PADDINGS = ("zeros", "reflect", "replicate", "circular")

_Counts = Annotated[list[Count], Field(min_length=1, max_length=MAX_LEVELS)]
_Layers = Annotated[
    list[Annotated[int, Field(ge=1, le=32)]], Field(min_length=1, max_length=MAX_LEVELS + 1)
]
_Words = Annotated[
    list[Annotated[str, Field(max_length=80)]], Field(min_length=1, max_length=MAX_LEVELS)
]
_Factors = Annotated[list[Annotated[int, Field(ge=1, le=8)]], Field(max_length=MAX_LEVELS)]
_Switches = bool | Annotated[list[bool], Field(max_length=MAX_LEVELS + 1)]


class _Fields(Schema):
    """Allowed values of each key; `None` where the file does not have it."""

    in_channels: Count | None = None
    out_channels: Count | None = None
    latent_channels: Count | None = None
    block_out_channels: _Counts | None = None
    down_block_types: _Words | None = None
    decoder_block_out_channels: _Counts | None = None
    layers_per_block: _Layers | None = None
    decoder_layers_per_block: _Layers | None = None
    spatio_temporal_scaling: _Switches | None = None
    decoder_spatio_temporal_scaling: _Switches | None = None
    decoder_inject_noise: _Switches | None = None
    downsample_type: _Words | None = None
    upsample_type: _Words | None = None
    decoder_upsample_type: _Words | None = None
    upsample_residual: _Switches | None = None
    upsample_factor: _Factors | None = None
    timestep_conditioning: bool | None = None
    patch_size: Annotated[int, Field(ge=1, le=64)] | None = None
    patch_size_t: Annotated[int, Field(ge=1, le=64)] | None = None
    resnet_norm_eps: Annotated[float, Field(gt=0, lt=1)] | None = None
    scaling_factor: Annotated[float, Field(gt=0, le=1e6)] | None = None
    encoder_causal: bool | None = None
    decoder_causal: bool | None = None
    encoder_spatial_padding_mode: Annotated[str, Field(max_length=80)] | None = None
    decoder_spatial_padding_mode: Annotated[str, Field(max_length=80)] | None = None
    spatial_compression_ratio: Annotated[int, Field(ge=1, le=256)] | None = None
    temporal_compression_ratio: Annotated[int, Field(ge=1, le=256)] | None = None
    gradient_checkpointing: bool | None = None  # a setting of training


DEFAULTS: Mapping[str, Any] = {  # of diffusers' AutoencoderKLLTX2Video
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 128,
    "block_out_channels": (256, 512, 1024, 2048),
    "decoder_block_out_channels": (256, 512, 1024),
    "layers_per_block": (4, 6, 6, 2, 2),
    "decoder_layers_per_block": (5, 5, 5, 5),
    "spatio_temporal_scaling": True,
    "decoder_spatio_temporal_scaling": True,
    "decoder_inject_noise": False,
    "downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
    "upsample_residual": True,
    "timestep_conditioning": False,
    "patch_size": 4,
    "patch_size_t": 1,
    "resnet_norm_eps": 1e-6,
    "scaling_factor": 1.0,
    "encoder_causal": True,
    "decoder_causal": True,
    "encoder_spatial_padding_mode": "zeros",
    "decoder_spatial_padding_mode": "reflect",
}
_ONLY: Mapping[str, Any] = {  # the values that are implemented
    "in_channels": 3,
    "out_channels": 3,
    "timestep_conditioning": False,
    "patch_size_t": 1,
    "encoder_causal": True,
}


def read_keys(values: Mapping[str, Any], where: object) -> dict[str, Any]:
    """The keys that a parsed file has, with lists as tuples; unset ones are left out.

    Raises:
        ConfigError: an unknown key, or a value of another type.
    """
    given = from_known_keys(_Fields, values, where)
    return {key: value for key, value in given.items() if value is not None}


def refuse_unsupported(values: Mapping[str, Any]) -> None:
    """Refuse unsupported values.

    Raises:
        ConfigError: "key value; what works".
    """
    for key, only in _ONLY.items():
        if values[key] != only:
            raise ConfigError(f"{key} {_shown(values[key])}; only {_shown(only)} works")
    noisy = values["decoder_inject_noise"]
    if noisy is True or (noisy is not False and any(noisy)):
        raise ConfigError(f"decoder_inject_noise {_shown(noisy)}; only false works")
    for key in ("encoder_spatial_padding_mode", "decoder_spatial_padding_mode"):
        _one_of(key, values[key], PADDINGS)
    for kind in values.get("down_block_types", ()):
        _one_of("down_block_types", kind, (DOWN_BLOCK,))
    for key in ("downsample_type", "upsample_type", "decoder_upsample_type"):
        for kind in values.get(key, ()):
            _one_of(key, kind, STRIDES)


def _one_of(key: str, given: str, allowed: Sequence[str] | Mapping[str, Any]) -> None:
    if given not in allowed:
        raise ConfigError(f"{key} {safe_text(given)}; allowed are {', '.join(allowed)}")


def _shown(value: Any) -> str:
    return json.dumps(value)
