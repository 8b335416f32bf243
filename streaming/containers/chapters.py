"""Chapters, one for each prompt, and their boxes in MP4 and MOV.

A text track, which QuickTime and editors read (QuickTime File Format, "Chapter Lists"), and a list
in the user data, which ffmpeg, VLC and mpv read (`chpl`, of Nero).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from .mp4_boxes import box, table

_LONGEST_TITLE = 255  # bytes, the most that a `chpl` box holds
_MOST_LISTED = 255  # chapters of a `chpl` box
_MATRIX = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)  # identity
_UTF8 = box("encd", struct.pack(">I", 0x100))
_UNDEFINED_LANGUAGE = 0x55C4


@dataclass(frozen=True, slots=True)
class Chapter:
    """One chapter: its first frame, the frame after its last one, and its title."""

    start: int
    end: int
    title: str

    @property
    def name(self) -> bytes:
        """The title in UTF-8, at most 255 bytes."""
        return self.title.encode()[:_LONGEST_TITLE].decode(errors="ignore").encode()


def text_samples(chapters: Sequence[Chapter]) -> list[bytes]:
    """The samples of the text track."""
    return [struct.pack(">H", len(each.name)) + each.name + _UTF8 for each in chapters]


def chapter_list(chapters: Sequence[Chapter], frame_time: float) -> bytes:
    """A `chpl` box; no bytes where it cannot hold all chapters."""
    if len(chapters) > _MOST_LISTED:
        return b""
    rows = (
        struct.pack(">QB", round(each.start * frame_time * 10**7), len(each.name)) + each.name
        for each in chapters
    )
    return box("chpl", struct.pack(">IIB", 1 << 24, 0, len(chapters)), *rows)


def text_track(
    chapters: Sequence[Chapter], number: int, place: int, tick: int, ticks: int, references: bytes
) -> bytes:
    """A `trak` box for the samples of `text_samples`.

    Args:
        chapters: in order, each beginning where the one before ends.
        number: of the track.
        place: position of the samples in the file.
        tick: ticks of a frame.
        ticks: ticks of a second.
        references: the content of a `dinf` box that refers to the file itself.
    """
    length = chapters[-1].end * tick
    unit, durations = _durations([each.end * tick for each in chapters], ticks)
    sizes = [len(sample) for sample in text_samples(chapters)]
    head = struct.pack(">IQQIIQ", 1 << 24 | 2, 0, 0, number, 0, length)
    times = struct.pack(">IQQIQ", 1 << 24, 0, 0, unit, sum(durations))
    media = times + struct.pack(">HH", _UNDEFINED_LANGUAGE, 0)
    samples = box(
        "stbl",
        table("stsd", [], box("text", struct.pack(">6xH", 1), bytes(43))),
        table("stts", [(1, duration) for duration in durations]),
        table("stsc", [(1, len(chapters), 1)]),
        box("stsz", struct.pack(f">III{len(sizes)}I", 0, 0, len(sizes), *sizes)),
        table("co64", [(place,)], number="Q"),
    )
    header = box("gmin", struct.pack(">I4HhH", 0, 0x40, *[1 << 15] * 3, 0, 0))
    information = box("minf", box("gmhd", header, box("text", _MATRIX)),
                      box("dinf", references), samples)  # fmt: skip
    handler = box("hdlr", struct.pack(">II4s12xx", 0, 0, b"text"))
    return box(
        "trak",
        box("tkhd", head, bytes(16), _MATRIX, bytes(8)),
        box("mdia", box("mdhd", media), handler, information),
    )


def _durations(ends: list[int], ticks: int) -> tuple[int, list[int]]:
    """The track's ticks of a second and the duration of each sample in them.

    A duration has 32 bits: where a prompt was shown for longer, the ticks are milliseconds, or
    seconds.
    """
    for unit in (ticks, 1000, 1):
        places = [end * unit // ticks for end in ends]
        found = [end - start for start, end in zip([0, *places], places, strict=False)]
        if max(found) < 1 << 32:
            return unit, found
    raise ValueError("a chapter of more than a century")
