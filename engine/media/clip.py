"""Video files as clips: inspected once as a whole, then read frame by frame."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
from av.video.frame import VideoFrame

from sana_stream._text import safe_text
from sana_stream.errors import ConfigError

from .files import is_picture, open_given
from .video_file import Damage, OpenClip, is_truncated, open_clip
from .video_frame import PQ, WHITE, deinterlace, is_hdr, is_transparent, shown, shown_size
from .video_timing import Clock, in_steps

Note = Callable[[str], None]

NOTE_SECONDS = 5.0  # between two notes about the progress of reading
LENGTH_TOLERANCE = Fraction(1, 2)  # seconds by which a complete clip may be shorter than stated


class _Progress:
    """Periodic notes about how much of a clip has been read."""

    def __init__(self, note: Note, doing: str, name: str, seconds: Fraction | None) -> None:
        self._note, self._doing, self._name = note, doing, name
        self._of = "" if seconds is None else f" of {float(seconds):.0f} s"
        self._noted = time.monotonic()

    def update(self, seconds: Fraction) -> None:
        """Write a note if one is due; `seconds` of the clip have been read."""
        if time.monotonic() - self._noted >= NOTE_SECONDS:
            self._noted = time.monotonic()
            self._note(f"{self._doing} {self._name}: {float(seconds):.0f} s{self._of}")


def describe_flaws(
    name: str, damage: Damage, jumps: int, seconds: Fraction, length: Fraction | None
) -> Iterator[str]:
    """Describe what of a clip cannot be shown; `length` is the duration that its file states."""
    plays = f"{float(seconds):.1f} s"
    if length is not None and length - seconds > LENGTH_TOLERANCE:
        yield f"{name} is truncated: {plays} of {float(length):.1f} s can be decoded and are used"
    elif damage.ended:
        yield f"{name} is truncated or damaged at its end: {plays} can be decoded and are used"
    if damage.packets:
        yield f"{name} is damaged: {damage.packets} of its packets cannot be decoded"
    if jumps:
        yield f"{name}: its timestamps jump in {jumps} places; the jumps are ignored"


def describe_hdr(name: str, transfer: int) -> str:
    """Describe the conversion of HDR, by its transfer characteristics (ITU-T H.273)."""
    kind = "PQ" if transfer == PQ else "HLG"
    return f"{name} is HDR ({kind}): shown in SDR, its white of {WHITE:.0f} cd/m2 almost white"


def note_colours(note: Note, name: str, frame: VideoFrame) -> None:
    """Note the conversion of HDR and of transparent colours."""
    if is_hdr(frame):
        note(describe_hdr(name, int(frame.color_trc)))
    elif is_transparent(frame):
        note(f"{name}: its transparent parts are shown on white")


@dataclass(frozen=True, slots=True)
class Clip:
    """An inspected clip of `frames` frames, none of which is held in memory."""

    path: Path
    fps: Fraction
    frames: int
    size: tuple[int, int]  # height and width as displayed
    note: Note
    flaws: tuple[str, ...]  # what cannot be shown; noted again when the clip is read
    identity: tuple[int, ...]  # of the file when it was inspected

    def pictures(self, height: int, width: int, first: int = 0) -> Iterator[np.ndarray]:
        """Yield the frames from number `first`, scaled to cover a size, uint8 (H, W, 3).

        Raises:
            ConfigError: the file has changed since it was inspected.
        """
        name, count = safe_text(self.path), 0
        for flaw in self.flaws:
            self.note(flaw)
        progress = _Progress(self.note, "reading", name, self.frames / self.fps)
        with _opened(self.path) as (clip, file):
            whole = _identity(file) == self.identity
            for frame, steps in _steps(clip, Clock(clip.interval), self.fps, Damage()):
                before, count = count, count + steps
                if not whole or count > self.frames:
                    break
                if count <= max(first, before):
                    continue
                progress.update(count / self.fps)
                picture = shown(frame, float(clip.pixel_aspect), height, width)
                for _ in range(count - max(before, first)):
                    yield picture
        if not whole or count != self.frames:
            raise ConfigError(f"{name} has changed since it was inspected: start again")


def inspect_clip(path: str | Path, fps: Fraction, note: Note) -> Clip:
    """Decode a clip once from start to end, to count its frames and to find its flaws.

    Args:
        fps: frames per second at which it will be read; frames are repeated or dropped to fit.
        note: called with messages about progress and about flaws.

    Raises:
        ConfigError: it cannot be read, has no video frame, or frames that are too large.
    """
    name, damage, count = safe_text(path), Damage(), 0
    first: VideoFrame | None = None
    with _opened(path) as (clip, file):
        clock, progress = Clock(clip.interval), _Progress(note, "inspecting", name, clip.length)
        for frame, steps in _steps(clip, clock, fps, damage):
            first = first or frame
            count += steps
            progress.update(count / fps)
        if first is None:
            raise _no_frame(name)
        damage.ended |= is_truncated(file)
        flaws = tuple(describe_flaws(name, damage, clock.jumps, count / fps, clip.length))
        for flaw in flaws:
            note(flaw)
        note_colours(note, name, first)
        size = shown_size(first, float(clip.pixel_aspect))
        return Clip(Path(path), fps, count, size, note, flaws, _identity(file))


def first_frame(path: str | Path, note: Note) -> np.ndarray:
    """Decode the first frame of a clip, as displayed, uint8 (H, W, 3).

    Raises:
        ConfigError: it is neither an image nor a clip, or damaged.
    """
    name = safe_text(path)
    with _opened(path) as (clip, _):
        frame = next(deinterlace(clip.decoded(Damage())), None)
        if frame is None:
            raise _no_frame(name)
        aspect = float(clip.pixel_aspect)
        note(f"{name} is a clip: its first frame is used")
        note_colours(note, name, frame)
        return shown(frame, aspect, *shown_size(frame, aspect))


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[OpenClip, BinaryIO]]:
    name = safe_text(path)
    with open_given(path) as file:
        if is_picture(file):
            raise ConfigError(f"{name} is a picture, not a clip: give it as the image")
        clip = open_clip(file, name)
        with clip.container:
            yield clip, file


def _steps(
    clip: OpenClip, clock: Clock, fps: Fraction, damage: Damage
) -> Iterator[tuple[VideoFrame, int]]:
    return in_steps(deinterlace(clip.decoded(damage)), clock, fps)


def _identity(file: BinaryIO) -> tuple[int, ...]:
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _no_frame(name: str) -> ConfigError:
    return ConfigError(f"{name} has no frame that can be decoded: it is damaged or truncated")
