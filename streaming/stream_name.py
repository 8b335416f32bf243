"""The names of the files of a server's streams: `stream-`, the id in four digits, an ending."""

from __future__ import annotations

import re

STREAM_NAME = "stream-([0-9]{4,9})"
"""A regular expression of the name without its ending; its group is the id."""
FILM_NAME = rf"^{STREAM_NAME}\.mp4$"
"""A regular expression of the name of a recording."""


def stream_name(stream_id: int, ending: str = "") -> str:
    """The name of a stream's file, such as `stream-0003.mp4`."""
    return f"stream-{stream_id:04}{ending}"


def stream_of(name: str) -> int | None:
    """The id in a name without ending; None where it is not the name of a stream."""
    match = re.fullmatch(STREAM_NAME, name)
    return None if match is None else int(match[1])
