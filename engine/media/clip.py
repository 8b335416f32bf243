"""A clip that was looked at once as a whole, and whose pictures are then read one by one."""

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

from .inputs import is_picture, open_given
from .video_file import Damage, OpenClip, breaks_off, open_clip
from .video_frame import PQ, WHITE, deinterlaced, is_hdr, is_transparent, shown, shown_size
from .video_timing import Clock, in_steps

Note = Callable[[str], None]

EVERY = 5.0  # seconds between two words about how far reading has come
MISSING = Fraction(1, 2)  # seconds by which a whole clip may be shorter than its file says


class Advance:
    """Says every few seconds how far a clip has been read."""

    def __init__(self, note: Note, doing: str, name: str, seconds: Fraction | None) -> None:
        self._note, self._doing, self._name = note, doing, name
        self._of = "" if seconds is None else f" of {float(seconds):.0f} s"
        self._told = time.monotonic()

    def at(self, seconds: Fraction) -> None:
        """So many seconds of the clip have been read."""
        if time.monotonic() - self._told >= EVERY:
            self._told = time.monotonic()
            self._note(f"{self._doing} {self._name}: {float(seconds):.0f} s{self._of}")


def describe_flaws(
    name: str, damage: Damage, jumps: int, seconds: Fraction, length: Fraction | None
) -> Iterator[str]:
    """What of a clip cannot be shown; `length` is what its file promises."""
    plays = f"{float(seconds):.1f} s"
    if length is not None and length - seconds > MISSING:
        yield f"{name} is cut short: {plays} of {float(length):.1f} s play and are taken"
    elif damage.ended:
        yield f"{name} is cut short or damaged at its end: {plays} play and are taken"
    if damage.packets:
        yield f"{name} is damaged: {damage.packets} of its packets cannot be decoded"
    if jumps:
        yield f"{name}: its times jump in {jumps} places, which are passed over"


def describe_hdr(name: str, transfer: int) -> str:
    """What is done to HDR, by its transfer characteristics."""
    kind = "PQ" if transfer == PQ else "HLG"
    return f"{name} is HDR ({kind}): shown in SDR, its white of {WHITE:.0f} cd/m2 almost white"


def note_colours(note: Note, name: str, frame: VideoFrame) -> None:
    """Say what is done to colours that are not ordinary ones."""
    if is_hdr(frame):
        note(describe_hdr(name, int(frame.color_trc)))
    elif is_transparent(frame):
        note(f"{name}: its transparent parts are shown on white")


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


def inspect_clip(path: str | Path, fps: Fraction, note: Note) -> Clip:
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
        flaws = tuple(describe_flaws(name, damage, clock.jumps, count / fps, clip.length))
        for flaw in flaws:
            note(flaw)
        note_colours(note, name, first)
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
        note_colours(note, name, frame)
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
