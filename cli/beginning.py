"""What a stream begins with, where it is not noise alone: a picture, or a clip to go on from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from av.error import FFmpegError

from ..engine.plan import BlockPlan
from ..engine.story import Story, StoryError
from ..models.errors import ConfigError
from .options import Options

if TYPE_CHECKING:
    from ..engine.describe import ModelDescription

IMAGE_MARK = "<image>"  # in a prompt file: what stands behind it is the path of a picture


@dataclass(frozen=True, slots=True)
class Beginning:
    """The pictures a stream begins with, in its size; and how many of its blocks they are."""

    image: np.ndarray | None = None  # uint8 (H, W, 3)
    video: np.ndarray | None = None  # uint8 (T, H, W, 3), whole blocks
    blocks: int = 0


def with_image_of(options: Options, story: Story) -> tuple[Options, Story]:
    """Take the picture that the first prompt names (`a boat<image>boat.png`) into the options.

    Raises:
        StoryError: a later prompt names one, or the options have one too.
    """
    first, *later = story.cues
    for cue in later:
        if IMAGE_MARK in cue.prompt:
            raise StoryError(f"{story.name}: only the first prompt can begin with a picture")
    prompt, mark, path = first.prompt.partition(IMAGE_MARK)
    if not mark:
        return options, story
    if options.image is not None:
        raise StoryError(f"{story.name} names a picture, and so does --image: leave one out")
    folder = Path(options.prompt_file or "").parent
    cues = (replace(first, prompt=prompt), *later)
    return replace(options, image=str(folder / path.strip())), Story(cues, story.name)


def read_beginning(
    options: Options, model: ModelDescription, note: Callable[[str], None]
) -> Beginning:
    """Read the picture or the clip that a run begins with, and say what is cut off.

    Raises:
        ConfigError: a file that cannot be read, or a clip that is shorter than a block.
    """
    from ..engine.beginning import whole_blocks

    preset = model.preset
    width, height = options.size or (preset.width, preset.height)
    if options.image is not None:
        frames = _covered(options.image, None, height, width, note)
        return Beginning(image=frames[0])
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
