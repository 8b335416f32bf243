"""The checks of a run whose model makes one clip at a time."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from sana_stream.engine.story.story import Story
from sana_stream.errors import ConfigError

from .config import RunConfig

if TYPE_CHECKING:
    from .model import RunModel


def clip_frames(config: RunConfig, model: RunModel) -> int | None:
    """The frames of a clip; None for a model that streams block after block."""
    if model.transformer.causal:
        return None
    return 1 + (config.block_frames or model.preset.block_frames) * model.temporal_factor


def check_clip_run(
    config: RunConfig,
    story: Story,
    model: RunModel,
    frames: int | None,
    fps: Fraction,
    continued: bool = False,
) -> None:
    """Check a run against what its model can do.

    Args:
        config, story, model: of the run.
        frames: of the whole video; None: endless.
        fps: of the video.
        continued: the run continues the stream of a checkpoint in another video.

    Raises:
        ConfigError: a clip, an image or a memory policy that the model does not take, or, where
            it makes one clip at a time, a longer video, a second prompt, or live direction.
    """
    from sana_stream.engine.session.clips import check_clip

    image = config.image is not None or any(cue.image is not None for cue in story.cues)
    check_clip(
        model.preset,
        model.transformer,
        memory=config.memory,
        image=image,
        video=config.video is not None,
    )
    longest = clip_frames(config, model)
    if longest is None:
        return
    name = f"{model.preset.name} makes one clip at a time"
    if continued:
        raise ConfigError(f"{name}, which cannot be continued: make a new video")
    for option in ("interactive", "watch"):
        if getattr(config, option):
            raise ConfigError(f"{name}, which nothing can direct: leave {option}= out")
    if len(story.cues) > 1:
        raise ConfigError(f"{story.name} has {len(story.cues)} prompts: {name}, under one prompt")
    if frames is None or frames > longest:
        asked = "an endless video" if frames is None else f"a video of {frames} frames"
        raise ConfigError(
            f"{asked}: {name}, of at most {longest} frames ({float(longest / fps):.2f} s at"
            f" {float(fps):g} frames a second); give frames={longest} or fewer"
        )


def check_page(config: RunConfig, model: RunModel) -> None:
    """Refuse the page of a run that nothing can direct.

    Raises:
        ConfigError: the model makes one clip at a time, and a page was asked for.
    """
    if config.web is not None and not model.transformer.causal:
        raise ConfigError(
            f"{model.preset.name} makes one clip at a time, which nothing can direct: leave web="
            " out, or submit clips to sana-stream serve"
        )
