"""What is given of a stream: a clip that it goes on from, pictures that it cuts to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING

import av
import numpy as np
from av.error import FFmpegError

from ..engine.plan import BlockPlan
from ..engine.story import Story, StoryError
from ..models.errors import ConfigError
from .options import Options
from .request import Request

if TYPE_CHECKING:
    from ..engine.describe import ModelDescription


@dataclass(frozen=True, slots=True)
class Beginning:
    """The clip that a stream goes on from, in its size; and how many of its blocks it makes."""

    video: np.ndarray | None = None  # uint8 (T, H, W, 3), whole blocks
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
    return _covered(path, None, request.height, request.width, note)[0]


def read_beginning(
    options: Options, model: ModelDescription, note: Callable[[str], None]
) -> Beginning:
    """Read the clip that a run goes on from, and say what is cut off.

    Raises:
        ConfigError: a file that cannot be read, or a clip that is shorter than a block.
    """
    from ..engine.beginning import whole_blocks

    preset = model.preset
    width, height = options.size or (preset.width, preset.height)
    if options.video is None:
        return Beginning()
    fps = options.fps or Fraction(preset.fps)
    frames = _covered(options.video, fps, height, width, note)
    plan = BlockPlan(options.block_frames or preset.block_frames, model.temporal_factor)
    kept = whole_blocks(len(frames), plan)
    if kept < len(frames):
        note(
            f"{options.video}: its first {len(frames) - kept} frames fill no block and are left out"
        )
    return Beginning(video=frames[len(frames) - kept :], blocks=plan.blocks_for(kept))


def _covered(
    path: str, fps: Fraction | None, height: int, width: int, note: Callable[[str], None]
) -> np.ndarray:
    """The pictures of a file, uint8 (T, height, width, 3); one picture where `fps` is `None`."""
    from ..engine.picture import cover

    out: list[np.ndarray] = []
    try:
        for frame in _decoded(path, fps):
            if not out:
                _tell_cut(path, frame, height, width, note)
            out.append(cover(frame[None], height, width)[0])
            if fps is None:
                break
    except (FFmpegError, OSError) as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"{path} cannot be read: {reason}") from error
    if not out:
        raise ConfigError(f"{path} holds no picture")
    return np.stack(out)


def _decoded(path: str, fps: Fraction | None) -> Iterator[np.ndarray]:
    """Frames uint8 (H, W, 3), each shown until the next one, `fps` of them a second."""
    with av.open(path) as container:
        if not container.streams.video:
            return
        shown = ((_seconds(frame), frame) for frame in container.decode(video=0))
        first = next(shown, None)
        if first is None:
            return
        (begin, frame), count, lasts = first, 0, Fraction(0)
        until = begin
        for until, after in shown:
            lasts = until - _seconds(frame)
            for _ in range(_slots(until - begin, fps) - count):
                count += 1
                yield frame.to_ndarray(format="rgb24")
            frame = after
        for _ in range(max(not count, _slots(until + lasts - begin, fps) - count)):
            yield frame.to_ndarray(format="rgb24")


def _seconds(frame: av.VideoFrame) -> Fraction:
    return Fraction(frame.pts or 0) * Fraction(frame.time_base or 1)


def _slots(seconds: Fraction, fps: Fraction | None) -> int:
    """How many frames begin before a time; containers round times by a part of a frame."""
    return 0 if fps is None else ceil(seconds * fps - Fraction(1, 4))


def _tell_cut(
    path: str, frame: np.ndarray, height: int, width: int, note: Callable[[str], None]
) -> None:
    have_height, have_width = frame.shape[:2]
    if (have_height, have_width) == (height, width):
        return
    scale = max(height / have_height, width / have_width)
    lost = 1 - height * width / (have_height * have_width * scale**2)
    cut = f", {lost:.0%} is cut off" if lost > 0.005 else ""
    note(f"{path} is {have_width}x{have_height}: scaled to cover {width}x{height}{cut}")
