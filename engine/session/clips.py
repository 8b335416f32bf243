"""What a model that generates one clip at a time cannot do; the other models can do all of it.

Such a model has no state of earlier blocks: its only block is the whole clip.
"""

from __future__ import annotations

from sana_stream.engine.loading.presets import Preset
from sana_stream.errors import ConfigError
from sana_stream.models.registry import VideoTransformerConfig


def check_clip(
    preset: Preset,
    transformer: VideoTransformerConfig,
    *,
    memory: str | None = None,
    image: bool = False,
    video: bool = False,
) -> None:
    """Check what a stream is asked for against what its model can do.

    Args:
        preset, transformer: of the model.
        memory: the memory policy that was asked for.
        image: the stream starts from an image.
        video: the stream continues a clip.

    Raises:
        ConfigError: the model cannot do it; says what to leave out.
    """
    if image and not preset.image_start:
        raise ConfigError(f"{preset.name} cannot start from an image: leave image= out")
    if transformer.causal:
        return
    if memory is not None and memory != preset.memory:
        raise ConfigError(
            f"{preset.name} makes one clip at a time and keeps no memory of it: leave memory= out"
        )
    if video:
        raise ConfigError(
            f"{preset.name} makes one clip at a time and cannot continue another: leave video= out"
        )


def check_streaming(preset: Preset, transformer: VideoTransformerConfig, what: str) -> None:
    """Refuse what is for streams of several blocks only.

    Args:
        preset, transformer: of the model.
        what: what was asked for, such as "a benchmark".

    Raises:
        ConfigError: the model makes one clip at a time.
    """
    if not transformer.causal:
        raise ConfigError(
            f"{what} is for models that stream block after block; {preset.name} makes one clip at"
            " a time"
        )
