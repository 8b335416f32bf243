"""Configuration of the SANA-Video transformer, read from a checkpoint's `config.json`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from .errors import ConfigError


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
            raise ConfigError(f"patch_size {self.patch_size}: only 1 latent frame a patch is known")
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

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read a published configuration.

        Raises:
            ConfigError: a key that is not known, or a value that this model does not implement.
        """
        known = {field.name for field in fields(cls)}
        settings: dict[str, Any] = {}
        for key, value in values.items():
            if key in known:
                settings[key] = tuple(value) if isinstance(value, list) else value
            elif key in _FIXED:
                _require(key, value)
            elif not key.startswith("_"):
                raise ConfigError(_unknown_key(key, known | _FIXED.keys()))
        if settings.get("out_channels") is None:
            settings["out_channels"] = settings.get("in_channels", cls.in_channels)
        return cls(**settings)


# Keys of the published configuration that may stand there with these values only. `None` allows
# any value: the setting has no effect here (angles need no table; there is no dropout to apply).
_FIXED: dict[str, tuple[Any, ...] | None] = {
    "dropout": None,
    "interpolation_scale": None,
    "rope_max_seq_len": None,
    "guidance_embeds_scale": None,
    "guidance_embeds": (False,),
    "norm_elementwise_affine": (False,),
    "qk_norm": ("rms_norm_across_heads",),
}


def _require(key: str, value: Any) -> None:
    allowed = _FIXED[key]
    if allowed is not None and value not in allowed:
        raise ConfigError(f"transformer config: {key} is {value!r}; only {allowed[0]!r} is known")


def _unknown_key(key: str, known: set[str]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    hint = f"; did the file mean {near[0]!r}?" if near else ""
    return f"transformer config: unknown key {key!r}{hint}"
