"""Configuration of the LTX-2 VAEs from `vae/config.json`, causal and not causal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Annotated, Any, Self

from pydantic import Field

from sana_stream._text import safe_text
from sana_stream.errors import ConfigError
from sana_stream.models.schema import Schema, from_known_keys

from .config import MAX_LEVELS, Count

OVERLAP = 6  # latent frames before a chunk that are decoded with it where the decoder is not causal
DOWN_BLOCK = "LTX2VideoDownBlock3D"
STRIDES = {"spatial": (1, 2, 2), "temporal": (2, 1, 1), "spatiotemporal": (2, 2, 2)}
PADDINGS = ("zeros", "reflect", "replicate", "circular")

Stride = tuple[int, int, int]  # over frames, rows and columns
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


_DEFAULTS: Mapping[str, Any] = {  # of diffusers' AutoencoderKLLTX2Video
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


@dataclass(frozen=True, slots=True)
class Level:
    """One level of encoder or decoder."""

    dim: int  # channels of its input
    out_dim: int  # channels of its output
    layers: int  # residual blocks
    stride: Stride | None  # of its down- or upsampler; None: it has none
    factor: int = 1  # by which an upsampler divides the channels
    residual: bool = True  # whether an upsampler has a shortcut


@dataclass(frozen=True, slots=True)
class LTX2Layout:
    """Sizes of encoder and decoder."""

    z_dim: int
    patch: int  # pixels along one side of a folded patch
    norm_eps: float  # of the layer normalisation in shortcuts
    scaling_factor: float  # latents are multiplied by it after normalisation
    causal: bool  # whether the decoder is; the encoder always is
    down: tuple[Level, ...]
    down_middle: int  # residual blocks after the levels
    down_padding: str
    up: tuple[Level, ...]
    up_dim: int  # channels at the decoder's lowest resolution
    up_middle: int  # residual blocks before the levels
    up_padding: str

    @property
    def temporal_factor(self) -> int:
        """Frames per latent frame; the stream's first latent frame is one frame."""
        return prod(stride[0] for stride in _strides(self.down))

    @property
    def spatial_factor(self) -> int:
        """Pixels along one side of a latent pixel."""
        return self.patch * prod(stride[1] for stride in _strides(self.down))

    @property
    def decoder_context(self) -> int:
        """Number of earlier latent frames on which a causally decoded frame can depend.

        Each convolution sees two earlier frames at its own frame rate. Older frames change neither
        the output nor the cached frames.
        """
        frames, rate = 2.0 + 4 * self.up_middle, 1
        for level in self.up:
            shortcut = level.dim != level.out_dim  # a residual block more
            frames += (4 * shortcut + (level.stride is not None) * 2) / rate
            rate *= 1 if level.stride is None else level.stride[0]
            frames += 4 * level.layers / rate
        return ceil(frames + 2 / rate) + 1


def _strides(levels: Sequence[Level]) -> list[Stride]:
    return [level.stride for level in levels if level.stride is not None]


@dataclass(frozen=True, slots=True)
class _LTX2Config:
    """Sizes of an LTX-2 VAE, and the settings it is built from."""

    z_dim: int
    temporal_factor: int
    spatial_factor: int
    decoder_dim: int
    settings: str  # the checkpoint's own config.json, as text

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: object = "VAE config") -> Self:
        """Read a parsed `vae/config.json`; raises ConfigError for what cannot be streamed."""
        layout = read_layout(values, where)
        return cls(
            z_dim=layout.z_dim,
            temporal_factor=layout.temporal_factor,
            spatial_factor=layout.spatial_factor,
            decoder_dim=min(values.get("decoder_block_out_channels") or (256,)),
            settings=json.dumps(dict(values), sort_keys=True),
        )

    @property
    def layout(self) -> LTX2Layout:
        """Sizes of encoder and decoder."""
        return read_layout(json.loads(self.settings))


@dataclass(frozen=True, slots=True)
class LTX2VAEConfig(_LTX2Config):
    """An LTX-2 VAE whose decoder looks at frames on both sides."""

    @property
    def decoder_context(self) -> int:
        """Number of earlier latent frames that the decoder is given."""
        return OVERLAP


@dataclass(frozen=True, slots=True)
class CausalLTX2Config(_LTX2Config):
    """An LTX-2 VAE whose decoder is causal."""

    @property
    def decoder_context(self) -> int:
        """Number of earlier latent frames on which a decoded frame can depend."""
        return self.layout.decoder_context


def read_ltx2_config(
    values: Mapping[str, Any], where: object = "VAE config"
) -> LTX2VAEConfig | CausalLTX2Config:
    """Read a parsed `vae/config.json` of either kind; `decoder_causal` is true where it is absent.

    Raises:
        ConfigError: a value that is not implemented, or values that contradict each other.
    """
    causal = values.get("decoder_causal") in (None, True)
    kind = CausalLTX2Config if causal else LTX2VAEConfig
    return kind.from_dict(values, where)


def read_layout(values: Mapping[str, Any], where: object = "VAE config") -> LTX2Layout:
    """The sizes in a parsed `vae/config.json`.

    Raises:
        ConfigError: a value that is not implemented, or values that contradict each other; names
            key and value.
    """
    given = from_known_keys(_Fields, values, where)
    kept = {key: value for key, value in given.items() if value is not None}
    try:
        _refuse_unsupported(dict(_DEFAULTS) | kept)
        layout = _layout(dict(_DEFAULTS) | kept)
        _refuse_contradictions(layout, kept)
    except ConfigError as error:
        raise ConfigError(f"{safe_text(where)} has {error}") from None
    return layout


def _refuse_unsupported(values: Mapping[str, Any]) -> None:
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


def _layout(values: Mapping[str, Any]) -> LTX2Layout:
    down, up = len(values["block_out_channels"]), len(values["decoder_block_out_channels"])
    layers = _items(values, "layers_per_block", down + 1)
    decoder_layers = _items(values, "decoder_layers_per_block", up + 1)[::-1]
    _items({"down_block_types": (DOWN_BLOCK,) * down} | dict(values), "down_block_types", down)
    return LTX2Layout(
        z_dim=values["latent_channels"],
        patch=values["patch_size"],
        norm_eps=values["resnet_norm_eps"],
        scaling_factor=values["scaling_factor"],
        causal=values["decoder_causal"],
        down=tuple(_down_levels(values, down, layers)),
        down_middle=layers[-1],
        down_padding=values["encoder_spatial_padding_mode"],
        up=tuple(_up_levels(values, up, decoder_layers[1:])),
        up_dim=values["decoder_block_out_channels"][-1],
        up_middle=decoder_layers[0],
        up_padding=values["decoder_spatial_padding_mode"],
    )


def _down_levels(values: Mapping[str, Any], count: int, layers: Sequence[int]) -> list[Level]:
    scaled = _items(values, "spatio_temporal_scaling", count)
    kinds = _items(values, "downsample_type", count)
    dims = (values["latent_channels"], *values["block_out_channels"])
    levels = []
    for i in range(count):
        stride = STRIDES[kinds[i]] if scaled[i] else None
        level = Level(dims[i], dims[i + 1], layers[i], stride)
        if stride is None:
            _expect("block_out_channels", level.out_dim, level.dim, "spatio_temporal_scaling")
        elif level.out_dim % prod(stride) or level.dim * prod(stride) % level.out_dim:
            raise ConfigError(
                f"block_out_channels {level.out_dim} after {level.dim}; downsample_type"
                f" {kinds[i]} cannot make these channels"
            )
        levels.append(level)
    return levels


def _up_levels(values: Mapping[str, Any], count: int, layers: Sequence[int]) -> list[Level]:
    """The decoder's levels, from the lowest resolution on."""
    scaled = _items(values, "decoder_spatio_temporal_scaling", count)[::-1]
    residual = _items(values, "upsample_residual", count)[::-1]
    factors = _items({"upsample_factor": (2,) * count} | dict(values), "upsample_factor", count)
    kinds, dims = _upsample_types(values, count), values["decoder_block_out_channels"][::-1]
    levels, given = [], dims[0]  # channels that the level before gives
    for i, factor in enumerate(factors[::-1]):
        stride = STRIDES[kinds[i]] if scaled[i] else None
        level = Level(given // factor, dims[i] // factor, layers[i], stride, factor, residual[i])
        widened = level.out_dim * (1 if stride is None else factor)
        entered = level.dim if level.dim != level.out_dim else widened
        unit = 1 if stride is None or not level.residual else prod(stride)
        if entered != given or widened % unit or unit % (factor if unit > 1 else 1):
            raise ConfigError(
                f"decoder_block_out_channels {dims[i]} after {given}; upsample_factor {factor}"
                " cannot make these channels"
            )
        levels.append(level)
        given = level.out_dim
    return levels


def _upsample_types(values: Mapping[str, Any], count: int) -> Sequence[str]:
    """The kinds of upsamplers, from the lowest resolution on.

    `upsample_type` of diffusers lists them in this order; `decoder_upsample_type`, of
    AutoencoderKLCausalLTX2Video, from the highest resolution on.
    """
    if "upsample_type" in values:
        kinds = _items(values, "upsample_type", count)
        other = values.get("decoder_upsample_type", kinds[::-1])
        if tuple(other) != tuple(kinds[::-1]):
            raise ConfigError("upsample_type and decoder_upsample_type that contradict each other")
        return kinds
    if "decoder_upsample_type" in values:
        return _items(values, "decoder_upsample_type", count)[::-1]
    return ("spatiotemporal",) * count


def _refuse_contradictions(layout: LTX2Layout, given: Mapping[str, Any]) -> None:
    strides = _strides(layout.up)
    frames, side = prod(s[0] for s in strides), layout.patch * prod(s[1] for s in strides)
    _expect("upsample_type", frames, layout.temporal_factor, "downsample_type", "frames")
    _expect("upsample_type", side, layout.spatial_factor, "downsample_type", "pixels")
    for key, wanted in (
        ("temporal_compression_ratio", layout.temporal_factor),
        ("spatial_compression_ratio", layout.spatial_factor),
    ):
        _expect(key, given.get(key, wanted), wanted, "downsample_type")


def _items(values: Mapping[str, Any], key: str, count: int) -> Sequence[Any]:
    """The values of a key for each level; a single truth value stands for all."""
    value = values[key]
    items = (value,) * count if isinstance(value, bool) else value
    if len(items) != count:
        raise ConfigError(f"{key} of {len(items)} values; the other keys ask for {count}")
    return items


def _expect(key: str, given: int, wanted: int, reason: str, unit: str = "") -> None:
    if given != wanted:
        amount = f"{given} {unit}".rstrip()
        raise ConfigError(f"{key} of {amount}; {reason} asks for {wanted}")


def _one_of(key: str, given: str, allowed: Sequence[str] | Mapping[str, Any]) -> None:
    if given not in allowed:
        raise ConfigError(f"{key} {safe_text(given)}; allowed are {', '.join(allowed)}")


def _shown(value: Any) -> str:
    return json.dumps(value)
