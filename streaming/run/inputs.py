"""The pictures that a run cuts to, and the clip that it continues."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sana_stream._text import safe_text
from sana_stream.engine.block import BlockPlan
from sana_stream.streaming.video_format import rate_of

from .config import RunConfig
from .plan import RunPlan

if TYPE_CHECKING:
    import numpy as np

    from sana_stream.engine.media.clip import Clip

    from .model import RunModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VideoStart:
    """The clip that a stream continues, and the number of the stream's blocks that it fills."""

    video: Clip | None = None
    blocks: int = 0


def check_pictures(plan: RunPlan, since: int = 0) -> None:
    """Read the pictures that a run cuts to from frame `since` on, and log what is cropped.

    Raises:
        ConfigError: one that cannot be read.
    """
    timeline = plan.timeline
    due = (cue.image for cue in timeline.cues if timeline.frame(cue) >= since)
    for path in dict.fromkeys(image for image in due if image is not None):
        read_picture(path, plan, logger.info)


def read_picture(
    path: str, plan: RunPlan, note: Callable[[str], None] = lambda line: None
) -> np.ndarray:
    """A picture at the size of a run, uint8 (H, W, 3).

    Args:
        path: the file.
        plan: of the run.
        note: called with what a user should know of the file, a line each.

    Raises:
        ConfigError: the file cannot be read.
    """
    from sana_stream.engine.media.image_file import read_image
    from sana_stream.engine.media.resize import cover

    picture = read_image(path, note)
    height, width = picture.shape[:2]
    _note_crop(path, (height, width), (plan.height, plan.width), note)
    return cover(picture[None], plan.height, plan.width)[0]


def read_uploaded(data: bytes, plan: RunPlan) -> np.ndarray:
    """A picture that a client has sent, at the size of a run, uint8 (H, W, 3).

    Args:
        data: the content of an image file.
        plan: of the run.

    Raises:
        ConfigError: it is damaged, too large, or not a picture.
    """
    from sana_stream.engine.media.image_file import PIXELS, read_image_data
    from sana_stream.engine.media.resize import cover

    picture = read_image_data(data, PIXELS, lambda line: None)
    return cover(picture[None], plan.height, plan.width)[0]


def read_video_start(config: RunConfig, model: RunModel) -> VideoStart:
    """Inspect the clip that a run continues, and log what is cropped or left out.

    Raises:
        ConfigError: a file that cannot be read, or a clip that is shorter than a block.
    """
    if config.video is None:
        return VideoStart()
    from sana_stream.engine.media.clip import inspect_clip
    from sana_stream.engine.session.conditioning import whole_blocks

    preset, path = model.preset, str(config.video)
    width, height = config.size or (preset.width, preset.height)
    fps = rate_of(preset.fps if config.fps is None else config.fps)
    clip = inspect_clip(path, fps, logger.info)
    _note_crop(path, clip.size, (height, width), logger.info)
    blocks = BlockPlan(config.block_frames or preset.block_frames, model.temporal_factor)
    kept = whole_blocks(clip.frames, blocks)
    if kept < clip.frames:
        left_out = clip.frames - kept
        logger.info(
            "%s: its first %d frames fill no block and are left out", safe_text(path), left_out
        )
    return VideoStart(video=clip, blocks=blocks.blocks_for(kept))


def _note_crop(
    path: str, have: tuple[int, int], want: tuple[int, int], note: Callable[[str], None]
) -> None:
    """Report how a picture of one size (height, width) is made to cover another."""
    if have == want:
        return
    scale = max(want[0] / have[0], want[1] / have[1])
    lost = 1 - want[0] * want[1] / (have[0] * have[1] * scale**2)
    cut = f", {lost:.0%} is cut off" if lost > 0.005 else ""
    name = safe_text(path)
    note(f"{name} is {have[1]}x{have[0]}: scaled to cover {want[1]}x{want[0]}{cut}")
