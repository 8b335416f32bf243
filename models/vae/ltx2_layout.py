"""Sizes of the LTX-2 VAE's encoder and decoder, from a parsed `vae/config.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

from sana_stream._text import safe_text
from sana_stream.errors import ConfigError

from .ltx2_schema import DEFAULTS, DOWN_BLOCK, STRIDES, Stride, read_keys, refuse_unsupported


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


def read_layout(values: Mapping[str, Any], where: object = "VAE config") -> LTX2Layout:
    """The sizes in a parsed `vae/config.json`.

    Raises:
        ConfigError: an unsupported value, or values that contradict each other; names
            key and value.
    """
    kept = read_keys(values, where)
    try:
        refuse_unsupported(dict(DEFAULTS) | kept)
        layout = _layout(dict(DEFAULTS) | kept)
        _refuse_contradictions(layout, kept)
    except ConfigError as error:
        raise ConfigError(f"{safe_text(where)} has {error}") from None
    return layout


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
