"""The text of an HLS playlist, written and read back. Its tags: RFC 8216."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from sana_stream.streaming.containers.run_id import run_mark

INIT = "init.mp4"
# names as this program gives them: a playlist never leads out of its folder
_SEGMENT = re.compile(
    r"(#EXT-X-DISCONTINUITY\n)?#EXTINF:(\d{1,9}(?:\.\d{1,9})?),\n(segment\d{6,18}\.m4s)$",
    re.MULTILINE,
)
_FIRST = re.compile(r"#EXT-X-MEDIA-SEQUENCE:(\d{1,18})$", re.MULTILINE)
_LONGEST = re.compile(r"#EXT-X-TARGETDURATION:(\d{1,9})$", re.MULTILINE)
_JUMPS = re.compile(r"#EXT-X-DISCONTINUITY-SEQUENCE:(\d{1,18})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment as its playlist names it."""

    seconds: float
    name: str
    discontinuity: bool = False  # its time does not follow that of the one before


@dataclass(frozen=True, slots=True)
class Playlist:
    """The segments of a playlist, and what has gone before them."""

    target_duration: float  # seconds; no segment of the stream is longer
    media_sequence: int  # number of the first segment
    discontinuity_sequence: int  # how many of the segments before it had a jump
    segments: tuple[Segment, ...]


def playlist_head(
    target_duration: float,
    media_sequence: int,
    init: str = INIT,
    growing: bool = False,
    discontinuity_sequence: int = 0,
    run: str | None = None,
) -> str:
    """The lines before the segments: `longest` in seconds, `first` the first segment's number."""
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
    before = "#EXT-X-DISCONTINUITY\n" if discontinuity else ""
    return f"{before}#EXTINF:{seconds:.6f},\n{name}\n"


def playlist_text(playlist: Playlist, growing: bool = False, run: str | None = None) -> str:
    """A playlist that has not ended; `run` is the id of the run that writes it."""
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
    """The playlist whose `playlist_text` this is, with or without an end."""
    found = (tag.search(text) for tag in (_LONGEST, _FIRST, _JUMPS))
    longest, first, jumps = (int(match[1]) if match else 0 for match in found)
    segments = (Segment(float(s), name, bool(jump)) for jump, s, name in _SEGMENT.findall(text))
    return Playlist(longest, first, jumps, tuple(segments))
