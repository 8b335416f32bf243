"""What is given of a stream: a clip that it goes on from, pictures that it cuts to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from sana_stream._text import safe_text
from sana_stream.cli.options import Options
from sana_stream.engine.block import BlockPlan
from sana_stream.engine.story.story import Story
from sana_stream.errors import StoryError

from .config import Request

if TYPE_CHECKING:
    import numpy as np

    from sana_stream.engine.loading.inspect import ModelInfo
    from sana_stream.engine.media.clip import Clip


@dataclass(frozen=True, slots=True)
class VideoStart:
    """The clip that a stream goes on from, and how many of its blocks it makes."""

    video: Clip | None = None
    blocks: int = 0


def with_first_picture(options: Options, story: Story) -> Story:
    """The story with the picture of `--image`, to which it cuts before its first frame.

    Raises:
        StoryError: its first prompt names one too, or it is to go on from a clip.
    """
    first, *later = story.cues
    given = "--image" if options.image else "--video" if options.video else None
    if given is not None and first.image is not None:
        raise StoryError(f"{story.name} begins with a picture, and {given} is given: leave one out")
    if options.image is None:
        return story
    return replace(story, cues=(replace(first, image=options.image), *later))


def check_pictures(request: Request, note: Callable[[str], None], since: int = 0) -> None:
    """Look at the pictures that a run cuts to, from frame `since` on, and say what is cut off.

    Raises:
        ConfigError: one that cannot be read.
    """
    timeline = request.timeline
    due = (cue.image for cue in timeline.cues if timeline.frame(cue) >= since)
    for path in dict.fromkeys(image for image in due if image is not None):
        read_picture(path, request, note)


def read_picture(path: str, request: Request, note: Callable[[str], None]) -> np.ndarray:
    """A picture in the size of a run, uint8 (H, W, 3); ConfigError where it cannot be read."""
    from sana_stream.engine.media.image_file import read_image
    from sana_stream.engine.media.resize import cover

    picture = read_image(path, note)
    height, width = picture.shape[:2]
    _tell_cut(path, (height, width), (request.height, request.width), note)
    return cover(picture[None], request.height, request.width)[0]


def read_video_start(options: Options, model: ModelInfo, note: Callable[[str], None]) -> VideoStart:
    """Look at the clip that a run goes on from, as a whole, and say what is cut off.

    Raises:
        ConfigError: a file that cannot be read, or a clip that is shorter than a block.
    """
    if options.video is None:
        return VideoStart()
    from sana_stream.engine.media.clip import inspect_clip
    from sana_stream.engine.session.conditioning import whole_blocks

    preset = model.preset
    width, height = options.size or (preset.width, preset.height)
    clip = inspect_clip(options.video, options.fps or Fraction(preset.fps), note)
    _tell_cut(options.video, clip.size, (height, width), note)
    plan = BlockPlan(options.block_frames or preset.block_frames, model.temporal_factor)
    kept = whole_blocks(clip.frames, plan)
    if kept < clip.frames:
        name, left_out = safe_text(options.video), clip.frames - kept
        note(f"{name}: its first {left_out} frames fill no block and are left out")
    return VideoStart(video=clip, blocks=plan.blocks_for(kept))


def _tell_cut(
    path: str, have: tuple[int, int], want: tuple[int, int], note: Callable[[str], None]
) -> None:
    """Say which size (height, width) becomes which one."""
    if have == want:
        return
    scale = max(want[0] / have[0], want[1] / have[1])
    lost = 1 - want[0] * want[1] / (have[0] * have[1] * scale**2)
    cut = f", {lost:.0%} is cut off" if lost > 0.005 else ""
    name = safe_text(path)
    note(f"{name} is {have[1]}x{have[0]}: scaled to cover {want[1]}x{want[0]}{cut}")
