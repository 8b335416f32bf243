"""Configuration of the SANA-Video 2.0 transformer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field

from sana_stream._text import safe_text
from sana_stream.errors import ConfigError
from sana_stream.models.config import LAYERS, Count, Width
from sana_stream.models.schema import Schema, from_known_keys

CLASS_NAME = "SanaVideo2Transformer3DModel"  # `_class_name` of a converted folder
PUBLISHED_SOFTMAX_LAYERS = tuple(range(3, 32, 4))  # every fourth layer
_HeadDim = Annotated[int, Field(ge=6, le=1024, multiple_of=2)]


class _Fields(Schema):
    """Allowed values of each key: wider than every published model, small enough to allocate."""

    in_channels: Count = 1
    out_channels: Count | None = None
    hidden_size: Width = 1
    num_layers: Annotated[int, Field(ge=1, le=LAYERS)] = 1
    linear_head_dim: _HeadDim = 6
    softmax_head_dim: _HeadDim = 6
    cross_attention_head_dim: Annotated[int, Field(ge=1, le=1024)] = 1
    softmax_layers: list[Annotated[int, Field(ge=0, lt=LAYERS)]] = Field([], max_length=LAYERS)
    attn_res_block_size: Annotated[int, Field(ge=1, le=LAYERS)] = 1
    caption_channels: Width = 1
    mlp_ratio: Annotated[float, Field(gt=0, le=64)] = 1


@dataclass(frozen=True, slots=True)
class HybridConfig:
    """Shapes of a SANA-Video 2.0 transformer; the defaults are those of the 5B model.

    Raises:
        ConfigError: head widths that do not divide the token width, or a softmax layer that does
            not exist.
    """

    in_channels: int = 128
    out_channels: int = 128
    hidden_size: int = 2560
    num_layers: int = 32
    linear_head_dim: int = 128
    softmax_head_dim: int = 256
    cross_attention_head_dim: int = 128
    softmax_layers: tuple[int, ...] = PUBLISHED_SOFTMAX_LAYERS  # the others are linear
    attn_res_block_size: int = 8  # layers whose updates are summed into one source
    caption_channels: int = 2304
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        for name in ("linear_head_dim", "softmax_head_dim", "cross_attention_head_dim"):
            if self.hidden_size % getattr(self, name):
                raise ConfigError(
                    f"hidden_size {self.hidden_size} must be a multiple of {name}"
                    f" {getattr(self, name)}"
                )
        ordered = sorted(set(self.softmax_layers))
        if list(self.softmax_layers) != ordered or any(n >= self.num_layers for n in ordered):
            raise ConfigError(
                f"softmax_layers {list(self.softmax_layers)} must ascend and be below num_layers"
                f" {self.num_layers}"
            )

    @property
    def patch_size(self) -> tuple[int, int, int]:
        """Latent frames, rows and columns of a token: one each."""
        return 1, 1, 1

    @property
    def causal(self) -> bool:
        """Whether a block can be generated from the state of earlier ones: never."""
        return False

    @property
    def state_layers(self) -> int:
        """Layers that keep a state of earlier blocks: none."""
        return 0

    @property
    def num_attention_heads(self) -> int:
        """Heads of a linear layer."""
        return self.hidden_size // self.linear_head_dim

    @property
    def attention_head_dim(self) -> int:
        """Width of a head of a linear layer."""
        return self.linear_head_dim

    @property
    def num_cross_attention_heads(self) -> int:
        """Heads of the attention to the text."""
        return self.hidden_size // self.cross_attention_head_dim

    @property
    def cross_attention_dim(self) -> int:
        """Width of the projected text tokens."""
        return self.hidden_size

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: object = "transformer config") -> Self:
        """Read a configuration as `sana-stream convert` writes it.

        Args:
            values: the parsed file; keys that begin with an underscore are ignored.
            where: the file's name, for messages.

        Raises:
            ConfigError: an unknown key, or a value that this model does not implement.
        """
        settings = from_known_keys(_Fields, values, where)
        if settings.get("out_channels") is None:
            settings.pop("out_channels", None)
            if "in_channels" in settings:
                settings["out_channels"] = settings["in_channels"]
        try:
            return cls(**settings)
        except ConfigError as error:
            raise ConfigError(f"{safe_text(where)}: {error}") from None
