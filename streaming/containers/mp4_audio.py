"""The sound track of a finished MP4 or MOV file."""

from __future__ import annotations

import struct
from array import array
from itertools import chain

from sana_stream.streaming.audio import AAC_FRAME, SAMPLE_RATE

from .mp4_boxes import Fragment, box, children, find, table
from .mp4_tables import big_endian, changes, edit_list, long_header


def sound_track(trak: bytes, whole: list[Fragment], ticks: int) -> bytes:
    """The content of a `trak` box with its samples, made from the one without.

    Args:
        trak: as it is at the beginning of the file.
        whole: all fragments.
        ticks: of the movie, a second.
    """
    runs = [fragment.audio for fragment in whole if fragment.audio and fragment.audio.sizes]
    sizes = array("I", chain.from_iterable(run.sizes for run in runs))
    samples = len(sizes) * AAC_FRAME
    shown = round(samples * ticks / SAMPLE_RATE)

    def rebuilt(kind: str, content: bytes) -> bytes:
        match kind:
            case "mdhd":
                content = long_header(content, struct.pack(">I", SAMPLE_RATE), samples)
            case "tkhd":
                content = long_header(content, content[12:20], shown)
            case "stbl":
                chunks = ((n, count, 1) for n, count in changes([len(run.sizes) for run in runs]))
                content = b"".join(
                    (
                        box("stsd", find(content, "stsd")),
                        table("stts", [(len(sizes), AAC_FRAME)]),
                        table("stsc", chunks),
                        box("stsz", struct.pack(">III", 0, 0, len(sizes)), big_endian(sizes)),
                        table("co64", ((run.data,) for run in runs), number="Q"),
                    )
                )
            case "mdia" | "minf":
                content = b"".join(rebuilt(*child) for child in children(content))
        return box(kind, content)

    inner = [rebuilt(*child) for child in children(trak) if child[0] != "edts"]
    return b"".join([inner[0], edit_list(shown, 0), *inner[1:]])
