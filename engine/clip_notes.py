"""What is said of a clip: how far it has been read, what is missing, which colours it has."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from fractions import Fraction

from av.video.frame import VideoFrame

from .video_colour import PQ, WHITE, is_hdr, is_transparent
from .video_file import Damage

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


def told_flaws(
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


def told_hdr(name: str, transfer: int) -> str:
    """What is done to HDR, by its transfer characteristics."""
    kind = "PQ" if transfer == PQ else "HLG"
    return f"{name} is HDR ({kind}): shown in SDR, its white of {WHITE:.0f} cd/m2 almost white"


def tell_colours(note: Note, name: str, frame: VideoFrame) -> None:
    """Say what is done to colours that are not ordinary ones."""
    if is_hdr(frame):
        note(told_hdr(name, int(frame.color_trc)))
    elif is_transparent(frame):
        note(f"{name}: its transparent parts are shown on white")
