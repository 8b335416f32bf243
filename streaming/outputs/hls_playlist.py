"""The text of an HLS playlist, written and read back. Its tags: RFC 8216."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from sana_stream.streaming.run_mark import run_mark

INIT = "init.mp4"
# only names that this program gives: a playlist never refers to files outside its folder
_SEGMENT = re.compile(
    r"(#EXT-X-DISCONTINUITY\n)?#EXTINF:(\d{1,9}(?:\.\d{1,9})?),\n(segment\d{6,18}\.m4s)$",
    re.MULTILINE,
)
_FIRST = re.compile(r"#EXT-X-MEDIA-SEQUENCE:(\d{1,18})$", re.MULTILINE)
_LONGEST = re.compile(r"#EXT-X-TARGETDURATION:(\d{1,9})$", re.MULTILINE)
_JUMPS = re.compile(r"#EXT-X-DISCONTINUITY-SEQUENCE:(\d{1,18})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment in a playlist."""

    seconds: float
    name: str
    discontinuity: bool = False  # its time stamps do not follow those of the one before


@dataclass(frozen=True, slots=True)
class Playlist:
    """The segments of a playlist, and the counts of those removed before them (RFC 8216, 4.3.3)."""

    target_duration: float  # seconds; no segment of the stream is longer
    media_sequence: int  # number of the first segment
    discontinuity_sequence: int  # discontinuities before it
    segments: tuple[Segment, ...]


def playlist_head(
    target_duration: float,
    media_sequence: int,
    init: str = INIT,
    growing: bool = False,
    discontinuity_sequence: int = 0,
    run: str | None = None,
) -> str:
    """The lines before the segments; `init` is the address of the initialization segment."""
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        *([f"# {run_mark(run)}"] if run is not None else []),
        f"#EXT-X-TARGETDURATION:{math.ceil(target_duration)}",
        f"#EXT-X-MEDIA-SEQUENCE:{media_sequence}",
        *(
            [f"#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuity_sequence}"]
            if discontinuity_sequence
            else []
        ),
        *(["#EXT-X-PLAYLIST-TYPE:EVENT"] if growing else []),
        "#EXT-X-INDEPENDENT-SEGMENTS",
        f'#EXT-X-MAP:URI="{init}"',
    ]
    return "\n".join(lines) + "\n"


def playlist_entry(seconds: float, name: str, discontinuity: bool = False) -> str:
    """The lines of one segment."""
    tag = "#EXT-X-DISCONTINUITY\n" if discontinuity else ""
    return f"{tag}#EXTINF:{seconds:.6f},\n{name}\n"


def playlist_text(playlist: Playlist, growing: bool = False, run: str | None = None) -> str:
    """The text of a playlist that has not ended; `run` is the id of the run that writes it."""
    head = playlist_head(
        playlist.target_duration,
        playlist.media_sequence,
        growing=growing,
        discontinuity_sequence=playlist.discontinuity_sequence,
        run=run,
    )
    lines = (
        playlist_entry(each.seconds, each.name, each.discontinuity) for each in playlist.segments
    )
    return head + "".join(lines)


def read_playlist(text: str) -> Playlist:
    """Parse the result of `playlist_text`, with or without an end."""
    found = (tag.search(text) for tag in (_LONGEST, _FIRST, _JUMPS))
    longest, first, jumps = (int(match[1]) if match else 0 for match in found)
    segments = (Segment(float(s), name, bool(jump)) for jump, s, name in _SEGMENT.findall(text))
    return Playlist(longest, first, jumps, tuple(segments))
