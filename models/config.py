"""Configuration of the SANA-Video transformer, read from a checkpoint's `config.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field

from sana_stream._text import safe_text
from sana_stream.errors import ConfigError

from .known_models import SUPPORTED, SUPPORTED_CLASSES, known_by_class, refusal, unknown_class
from .schema import Schema, from_known_keys

Count = Annotated[int, Field(ge=1, le=4096)]
Width = Annotated[int, Field(ge=1, le=1 << 16)]
LAYERS = 512


class _Fields(Schema):
    """Allowed values of each key: wider than every published model, small enough to allocate."""

    in_channels: Count = 1
    out_channels: Count | None = None
    num_attention_heads: Annotated[int, Field(ge=1, le=512)] = 1
    attention_head_dim: Annotated[int, Field(ge=6, le=1024)] = 6
    num_layers: Annotated[int, Field(ge=1, le=LAYERS)] = 1
    num_cross_attention_heads: Annotated[int, Field(ge=1, le=512)] = 1
    cross_attention_head_dim: Annotated[int, Field(ge=1, le=1024)] = 1
    cross_attention_dim: Width = 1
    caption_channels: Width = 1
    mlp_ratio: Annotated[float, Field(gt=0, le=64)] = 1
    attention_bias: bool = False
    sample_size: Annotated[int, Field(ge=1, le=1 << 16)] = 1
    patch_size: list[Annotated[int, Field(ge=1, le=64)]] = Field([], min_length=3, max_length=3)
    norm_eps: Annotated[float, Field(gt=0, lt=1)] = 1e-6


@dataclass(frozen=True, slots=True)
class TransformerConfig:
    """Shapes of a SANA-Video transformer; field names are those of the published `config.json`."""

    in_channels: int = 16
    out_channels: int = 16
    num_attention_heads: int = 20
    attention_head_dim: int = 112
    num_layers: int = 20
    num_cross_attention_heads: int = 20
    cross_attention_head_dim: int = 112
    cross_attention_dim: int = 2240
    caption_channels: int = 2304
    mlp_ratio: float = 3.0
    attention_bias: bool = False
    sample_size: int = 30
    patch_size: tuple[int, int, int] = (1, 2, 2)
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.patch_size[0] != 1:
            raise ConfigError(f"patch_size {self.patch_size}: only 1 latent frame a patch works")
        if self.cross_attention_dim != self.hidden_size:
            raise ConfigError(
                f"cross_attention_dim {self.cross_attention_dim} must equal num_attention_heads"
                f" x attention_head_dim = {self.hidden_size}"
            )
        if self.attention_head_dim % 2 or self.attention_head_dim < 6:
            raise ConfigError(
                f"attention_head_dim {self.attention_head_dim} must be even and 6 or more"
            )

    @property
    def hidden_size(self) -> int:
        """Width of a token, `D` in the formulas."""
        return self.num_attention_heads * self.attention_head_dim

    @property
    def causal(self) -> bool:
        """Whether a block can be generated from the state of earlier ones: always."""
        return True

    @property
    def state_layers(self) -> int:
        """Layers that keep a state of earlier blocks: all."""
        return self.num_layers

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: object = "transformer config") -> Self:
        """Read a published configuration.

        Unknown keys with an unset value (null, false, zero, empty) are ignored: newer versions of
        diffusers add such keys.

        Args:
            values: the parsed file.
            where: the file's name, for messages.

        Raises:
            ConfigError: an unknown key, or a value that this model does not implement.
        """
        _check_class(values.get("_class_name"), where)
        for key in values.keys() & _FIXED.keys():
            _require(key, values[key], where)
        settings = from_known_keys(_Fields, values, where, others=_FIXED)
        if settings.get("out_channels") is None:
            settings.pop("out_channels", None)
            if "in_channels" in settings:
                settings["out_channels"] = settings["in_channels"]
        try:
            config = cls(**settings)
        except ConfigError as error:
            raise ConfigError(f"{safe_text(where)}: {error}") from None
        _check_channels(config.in_channels, config.out_channels, where)
        return config


# Keys of the published configuration that are accepted with these values only. `None` allows any
# value: the setting has no effect here (angles need no table; there is no dropout to apply).
_FIXED: dict[str, tuple[Any, ...] | None] = {
    "dropout": None,
    "interpolation_scale": None,
    "rope_max_seq_len": None,
    "guidance_embeds_scale": None,
    "guidance_embeds": (False,),
    "norm_elementwise_affine": (False,),
    "qk_norm": ("rms_norm_across_heads",),
}


def _check_class(name: Any, where: object) -> None:
    if name is None or name in SUPPORTED_CLASSES:
        return
    known = known_by_class(name)
    raise ConfigError(unknown_class(where, name) if known is None else refusal(where, known))


def _check_channels(taken: int, made: int, where: object) -> None:
    if taken != made:
        raise ConfigError(
            f"{safe_text(where)}: in_channels {taken} and out_channels {made} differ, as in a model"
            f" that takes a source video too; {SUPPORTED}"
        )


def _require(key: str, value: Any, where: object) -> None:
    allowed = _FIXED[key]
    if allowed is not None and value not in allowed and not (allowed == (False,) and not value):
        raise ConfigError(
            f"{safe_text(where)}: {key} is {safe_text(repr(value), 80)}; only {allowed[0]!r} works"
        )
