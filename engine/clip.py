"""A clip that was looked at once as a whole, and whose pictures are then read one by one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
from av.video.frame import VideoFrame

from sana_stream._text import safe_text

from ..models.errors import ConfigError
from .clip_notes import Advance, tell_colours, told_flaws
from .given_file import is_picture, open_given
from .video_fields import deinterlaced
from .video_file import Damage, OpenClip, breaks_off, open_clip
from .video_frame import shown, shown_size
from .video_timing import Clock, in_steps

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip's pictures, `frames` of them; none is held in memory."""

    path: Path
    fps: Fraction
    frames: int
    size: tuple[int, int]  # height and width as viewers show it
    note: Note
    flaws: tuple[str, ...]  # what of the file cannot be shown; told again when it is taken
    identity: tuple[int, ...]  # of the file as it was looked at

    def pictures(self, height: int, width: int, first: int = 0) -> Iterator[np.ndarray]:
        """The pictures from number `first` on, each made to cover a size, uint8 (H, W, 3).

        Raises:
            ConfigError: the file is another one since it was looked at.
        """
        name, count = safe_text(self.path), 0
        for flaw in self.flaws:
            self.note(flaw)
        advance = Advance(self.note, "taking", name, self.frames / self.fps)
        with _opened(self.path) as (clip, file):
            whole = _identity(file) == self.identity
            for frame, steps in _steps(clip, Clock(clip.interval), self.fps, Damage()):
                before, count = count, count + steps
                if not whole or count > self.frames:
                    break
                if count <= max(first, before):
                    continue
                advance.at(count / self.fps)
                picture = shown(frame, float(clip.pixel_aspect), height, width)
                for _ in range(count - max(before, first)):
                    yield picture
        if not whole or count != self.frames:
            raise ConfigError(f"{name} has changed since it was looked at: begin again")


def look_at_clip(path: str | Path, fps: Fraction, note: Note) -> Clip:
    """Decode a clip once from end to end: how many pictures it has, and what ails it.

    Args:
        fps: pictures a second in which it is to be read; each of its frames stands until the next.
        note: is told how far it is, and what of the clip is not as it should be.

    Raises:
        ConfigError: it cannot be read, holds no picture, or pictures that are too large.
    """
    name, damage, count = safe_text(path), Damage(), 0
    first: VideoFrame | None = None
    with _opened(path) as (clip, file):
        clock, advance = Clock(clip.interval), Advance(note, "looking at", name, clip.length)
        for frame, steps in _steps(clip, clock, fps, damage):
            first = first or frame
            count += steps
            advance.at(count / fps)
        if first is None:
            raise _no_picture(name)
        damage.ended |= breaks_off(file)
        flaws = tuple(told_flaws(name, damage, clock.jumps, count / fps, clip.length))
        for flaw in flaws:
            note(flaw)
        tell_colours(note, name, first)
        size = shown_size(first, float(clip.pixel_aspect))
        return Clip(Path(path), fps, count, size, note, flaws, _identity(file))


def first_frame(path: str | Path, note: Note) -> np.ndarray:
    """The first frame of a clip, as a viewer shows it, uint8 (H, W, 3).

    Raises:
        ConfigError: it is neither a picture nor a clip, or damaged.
    """
    name = safe_text(path)
    with _opened(path) as (clip, _):
        frame = next(deinterlaced(clip.decoded(Damage())), None)
        if frame is None:
            raise _no_picture(name)
        aspect = float(clip.pixel_aspect)
        note(f"{name} is a clip: its first frame is taken")
        tell_colours(note, name, frame)
        return shown(frame, aspect, *shown_size(frame, aspect))


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[OpenClip, BinaryIO]]:
    name = safe_text(path)
    with open_given(path) as file:
        if is_picture(file):
            raise ConfigError(f"{name} is a picture, not a clip: give it as the image (--image)")
        clip = open_clip(file, name)
        with clip.container:
            yield clip, file


def _steps(
    clip: OpenClip, clock: Clock, fps: Fraction, damage: Damage
) -> Iterator[tuple[VideoFrame, int]]:
    return in_steps(deinterlaced(clip.decoded(damage)), clock, fps)


def _identity(file: BinaryIO) -> tuple[int, ...]:
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _no_picture(name: str) -> ConfigError:
    return ConfigError(f"{name} holds no picture that can be decoded: it is damaged or cut short")
