"""Configuration of a Wan VAE from `vae/config.json`, and checks of what every VAE is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from sana_stream._text import safe_text
from sana_stream.errors import ConfigError
from sana_stream.models.schema import Schema, from_known_keys


def check_frames(frames: Tensor, n: int, side: int, start: bool) -> None:
    """Check that frames have shape (B, 3, T, H, W) and fill whole latent frames.

    Args:
        frames: T is 1 + k * n at the start of a stream and k * n later; H and W are multiples of
            `side`.
        n: frames per latent frame.
        side: pixels along one side of a latent pixel.
        start: whether these are the first frames of a stream.

    Raises:
        ConfigError: another shape; names what was given and what is allowed.
    """
    if frames.ndim != 5 or frames.shape[1] != 3:
        raise ConfigError(f"frames have shape {tuple(frames.shape)}; give (B, 3, T, H, W)")
    count, height, width = frames.shape[2:]
    if height % side or width % side or not height or not width:
        raise ConfigError(f"frames of {height}x{width}; height and width must be n·{side}")
    if count < 1 or (count - start) % n:
        rule = f"1, {1 + n}, {1 + 2 * n} …" if start else f"{n}, {2 * n} …"
        place = "at the start of a stream" if start else "with a cache"
        raise ConfigError(f"{count} frames to encode {place}; give {rule}")


def check_latents(latents: Tensor, channels: int) -> None:
    """Check that latents have shape (B, channels, T' >= 1, h, w).

    Raises:
        ConfigError: another shape; names what was given and what is allowed.
    """
    if latents.ndim != 5 or latents.shape[1] != channels or latents.shape[2] < 1:
        shape = tuple(latents.shape)
        raise ConfigError(f"latents have shape {shape}; give (B, {channels}, T' ≥ 1, h, w)")


MAX_LEVELS = 8  # resolutions of encoder and decoder
Count = Annotated[int, Field(ge=1, le=4096)]
_Statistics = Annotated[
    list[Annotated[float, Field(ge=-1e6, le=1e6)]], Field(min_length=1, max_length=4096)
]
_Positive = Annotated[
    list[Annotated[float, Field(gt=0, le=1e6)]], Field(min_length=1, max_length=4096)
]


class _Fields(Schema):
    """Allowed values of each key."""

    latents_mean: _Statistics
    latents_std: _Positive
    base_dim: Count = 0
    decoder_base_dim: Count | None = None
    z_dim: Count = 0
    dim_mult: list[Annotated[int, Field(ge=1, le=64)]] = Field(
        [], min_length=1, max_length=MAX_LEVELS
    )
    num_res_blocks: Annotated[int, Field(ge=1, le=32)] = 0
    attn_scales: list[float] = Field([], max_length=MAX_LEVELS)
    temperal_downsample: list[bool] = Field([], max_length=MAX_LEVELS)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    is_residual: bool = False
    in_channels: Count = 0
    out_channels: Count = 0
    patch_size: Annotated[int, Field(ge=1, le=64)] | None = None
    scale_factor_temporal: Count | None = None
    scale_factor_spatial: Count | None = None


@dataclass(frozen=True, slots=True)
class WanVAEConfig:
    """Sizes of a Wan 2.1 autoencoder, under the names that diffusers gives them.

    `patch_size` P folds P by P pixels into channels before the encoder and after the decoder.

    Raises:
        ConfigError: values contradict each other, `is_residual` is set (Wan 2.2), or `attn_scales`
            is not empty.
    """

    latents_mean: tuple[float, ...]  # (z_dim,)
    latents_std: tuple[float, ...]  # (z_dim,)
    base_dim: int = 96
    decoder_base_dim: int | None = None  # None: as base_dim
    z_dim: int = 16
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attn_scales: tuple[float, ...] = ()
    temperal_downsample: tuple[bool, ...] = (False, True, True)  # diffusers' spelling
    dropout: float = 0.0
    is_residual: bool = False
    in_channels: int = 3
    out_channels: int = 3
    patch_size: int | None = None
    scale_factor_temporal: int | None = None  # None: what temperal_downsample gives
    scale_factor_spatial: int | None = None  # None: what dim_mult and patch_size give

    def __post_init__(self) -> None:
        _refuse_unsupported(self)
        _refuse_contradictions(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: object = "VAE config") -> WanVAEConfig:
        """Read a parsed `vae/config.json`.

        Keys that begin with an underscore are ignored, and so are unknown keys with an unset value
        (null, false, zero, empty), which newer versions of diffusers add.

        Args:
            values: the parsed file.
            where: the file's name, for messages.

        Raises:
            ConfigError: an unknown or missing key, or an unsupported value.
        """
        if missing := [key for key in ("latents_mean", "latents_std") if values.get(key) is None]:
            raise ConfigError(
                f"{safe_text(where)} lacks {' and '.join(missing)}; "
                "add the z_dim numbers that latents were normalised with in training"
            )
        settings = from_known_keys(_Fields, values, where)
        try:
            return cls(**settings)
        except ConfigError as error:
            message = str(error).removeprefix("VAE config has ")
            raise ConfigError(f"{safe_text(where)} has {message}") from None

    @property
    def decoder_dim(self) -> int:
        """Channels of the decoder's last level, before `dim_mult`."""
        return self.base_dim if self.decoder_base_dim is None else self.decoder_base_dim

    @property
    def patch(self) -> int:
        """Pixels along one side of a folded patch; 1 is no folding."""
        return 1 if self.patch_size is None else self.patch_size

    @property
    def temporal_factor(self) -> int:
        """Frames per latent frame; the stream's first latent frame is one frame."""
        return 2 ** sum(self.temperal_downsample)

    @property
    def spatial_factor(self) -> int:
        """Pixels along one side of a latent pixel."""
        return 2 ** (len(self.dim_mult) - 1) * self.patch

    @property
    def decoder_context(self) -> int:
        """Number of earlier latent frames on which a decoded frame can depend.

        Each causal convolution over time sees two earlier frames at its own frame rate. Older
        frames change neither the output nor the cached frames.
        """
        convolutions = 2 * (self.num_res_blocks + 1)
        frames, rate = 2.0 + 2 * 4, 1  # the first convolution, and four of the middle block
        for doubled in (*self.temperal_downsample[::-1], False):
            frames += 2 * convolutions / rate + (2 / rate if doubled else 0)
            rate *= 2 if doubled else 1
        return ceil(frames + 2 / rate) + 1


def _refuse_unsupported(config: WanVAEConfig) -> None:
    if config.is_residual:
        raise ConfigError("VAE config has is_residual true (Wan 2.2); use a Wan 2.1 VAE")
    if config.attn_scales:
        raise ConfigError(f"VAE config has attn_scales {list(config.attn_scales)}; only [] works")


def _refuse_contradictions(config: WanVAEConfig) -> None:
    _expect("latents_mean", "numbers", len(config.latents_mean), config.z_dim, "z_dim")
    _expect("latents_std", "numbers", len(config.latents_std), config.z_dim, "z_dim")
    levels = len(config.dim_mult) - 1
    _expect("temperal_downsample", "values", len(config.temperal_downsample), levels, "dim_mult")
    colours = 3 * config.patch**2
    _expect("in_channels", "", config.in_channels, colours, "patch_size")
    _expect("out_channels", "", config.out_channels, colours, "patch_size")
    if config.scale_factor_temporal is not None:
        given = config.scale_factor_temporal
        _expect("scale_factor_temporal", "", given, config.temporal_factor, "temperal_downsample")
    if config.scale_factor_spatial is not None:
        given = config.scale_factor_spatial
        _expect("scale_factor_spatial", "", given, config.spatial_factor, "dim_mult and patch_size")


def _expect(name: str, unit: str, given: int, wanted: int, reason: str) -> None:
    if given != wanted:
        amount = f"{given} {unit}".rstrip()
        raise ConfigError(f"VAE config has {name} of {amount}; {reason} asks for {wanted}")
