"""MP4 and MOV as hybrid MP4: one fragment for each block, finished as an ordinary file.

A file being written is `ftyp free moov uuid (moof mdat)*`. Finished it is `ftyp mdat moov uuid`, in
which the `mdat` covers all fragments and the new `moov` points into them, so no data is moved or
copied. The `uuid` box is the XMP packet of an MP4; a MOV has it in `moov`.
Boxes and their fields: ISO/IEC 14496-12, 8.2 to 8.7.
"""

from __future__ import annotations

import io
import struct
from array import array
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain, groupby, takewhile
from typing import TYPE_CHECKING, BinaryIO

from sana_stream.streaming.video_format import StreamSpec

from .block_container import SingleBlockContainer
from .chapters import Chapter, chapter_list, text_samples, text_track
from .mp4_audio import sound_track
from .mp4_boxes import Box, Fragment, box, children, find, fragments, table, walk
from .mp4_tables import big_endian, changes, edit_list, long_header

if TYPE_CHECKING:
    from sana_stream.engine.block import Block, BlockPart


SPARE = 16  # bytes after the file type: a `free` box, later the header of the `mdat`


def write_index(file: BinaryIO, frame_time: Fraction, chapters: Sequence[Chapter] = ()) -> None:
    """Turn a file of fragments into an ordinary one; a file without fragments is unchanged.

    `frame_time` is in seconds. The last step overwrites 16 bytes; until then the file is
    fragmented. The titles of chapters become the last part of the data.
    """
    whole = list(fragments(file))
    if not whole:
        return
    top = {part.kind: part for part in takewhile(lambda part: part.kind != "moof", walk(file))}
    old = _content(file, top["moov"])
    xmp = box("uuid", _content(file, top["uuid"])) if "uuid" in top else b""
    texts = box("free", *text_samples(chapters)) if chapters else b""
    moov = _moov(old, whole, frame_time, chapters)
    file.seek(whole[-1].end)
    file.truncate()
    end = whole[-1].end + file.write(texts)
    file.write(moov + xmp)
    file.flush()
    start = file.seek(top["free"].start)
    file.write(struct.pack(">I4sQ", 1, b"mdat", end - start))
    file.flush()


def remove_index(file: BinaryIO) -> None:
    """Turn a finished file back into a file of fragments that can be appended to."""
    if (whole := _finished(file)) is not None:
        file.seek(whole.start)
        file.write(box("free", bytes(SPARE - 8)))
        file.truncate(whole.end)
        file.flush()


def all_fragments(file: BinaryIO) -> Iterator[Fragment]:
    """The complete fragments of a file, finished or growing; the file is only read."""
    if (whole := _finished(file)) is not None:
        return fragments(file, whole.start + SPARE, whole.end)
    return fragments(file)


def _finished(file: BinaryIO) -> Box | None:
    """The `mdat` that covers all fragments of a finished file; None for a growing file."""
    top = [part for part in walk(file) if part.kind != "uuid"]
    return top[1] if [part.kind for part in top] == ["ftyp", "mdat", "moov"] else None


def _content(file: BinaryIO, part: Box) -> bytes:
    file.seek(part.content)
    return file.read(part.end - part.content)


def _moov(
    old: bytes, whole: list[Fragment], frame_time: Fraction, chapters: Sequence[Chapter]
) -> bytes:
    """The complete `moov`, made from the one without samples at the beginning of the file."""
    (ticks,) = struct.unpack_from(">I", find(old, "trak", "mdia", "mdhd"), 12)
    duration = round(sum(len(fragment.sizes) for fragment in whole) * frame_time * ticks)
    shift = -min(min(fragment.offsets) for fragment in whole)
    tick = round(frame_time * ticks)
    following = 1 + sum(kind == "trak" for kind, _ in children(old))  # number of the next track

    def rebuilt(kind: str, content: bytes) -> bytes:
        match kind:
            case "trak" if find(content, "mdia", "hdlr")[8:12] == b"soun":
                content = sound_track(content, whole, ticks)
            case "mvhd" | "mdhd":
                content = long_header(content, struct.pack(">I", ticks), duration)
                if kind == "mvhd" and chapters:
                    content = content[:-4] + struct.pack(">I", following + 1)
            case "tkhd":
                content = long_header(content, content[12:20], duration)
            case "stbl":
                content = _samples(content, whole, tick, shift)
            case "trak":
                inner = [rebuilt(*child) for child in children(content) if child[0] != "edts"]
                content = b"".join([inner[0], edit_list(duration, shift), *inner[1:]])
                if chapters:
                    content += box("tref", box("chap", struct.pack(">I", following)))
            case "udta" if chapters:
                content += chapter_list(chapters, float(frame_time))
            case "mdia" | "minf":
                content = b"".join(rebuilt(*child) for child in children(content))
        return box(kind, content)

    parts = [rebuilt(*child) for child in children(old) if child[0] != "mvex"]
    if chapters:
        references = find(old, "trak", "mdia", "minf", "dinf")
        place = whole[-1].end + 8  # inside of a box
        parts.append(text_track(chapters, following, place, tick, ticks, references))
    return box("moov", *parts)


def _samples(old: bytes, whole: list[Fragment], tick: int, shift: int) -> bytes:
    """The sample tables, with the codec's old description; one chunk for each fragment."""
    counts = [len(fragment.sizes) for fragment in whole]
    sizes = array("I", chain.from_iterable(fragment.sizes for fragment in whole))
    offsets = chain.from_iterable(fragment.offsets for fragment in whole)
    chunks = ((number, count, 1) for number, count in changes(counts))
    waits = ((len(list(run)), offset + shift) for offset, run in groupby(offsets))
    return b"".join(
        (
            box("stsd", find(old, "stsd")),
            table("stts", [(len(sizes), tick)]),
            table("ctts", waits),
            table("stss", ((number,) for number in _keys(whole))),
            table("stsc", chunks),
            box("stsz", struct.pack(">III", 0, 0, len(sizes)), big_endian(sizes)),
            table("co64", ((fragment.data,) for fragment in whole), number="Q"),
        )
    )


def _keys(whole: list[Fragment]) -> Iterator[int]:
    """The numbers of the key frames, from 1."""
    before = 1
    for fragment in whole:
        yield from (before + key for key in fragment.keys)
        before += len(fragment.sizes)


_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # ISO 16684-3, MPEG-4


def _with_xmp(header: bytes, xmp: bytes, container: str) -> bytes:
    """A header with an XMP packet: after the boxes of an MP4, in the user data of a MOV."""
    if container == "mp4":
        return header + box("uuid", _XMP, xmp)

    def marked(kind: str, content: bytes) -> bytes:
        if kind == "moov":
            inner = list(children(content))
            if "udta" not in dict(inner):
                inner.append(("udta", b""))
            content = b"".join(marked(*child) for child in inner)
        return box(kind, content, box("XMP_", xmp) if kind == "udta" else b"")

    return b"".join(marked(part.kind, header[part.content : part.end]) for part in walk(header))


OPTIONS = {
    # an empty `moov` first, then one `moof` and `mdat` for each block, with the time of the stream
    "movflags": "empty_moov+default_base_moof+frag_discont+negative_cts_offsets+skip_trailer",
    "use_editlist": "0",
    "avoid_negative_ts": "disabled",
}


class Mp4Fragmenter:
    """Muxes blocks into MP4 fragments, for files and for browsers.

    `container` is "mp4" or "mov". Each fragment begins with a key frame and can be played after
    `init` alone; its base decode time is the block's start.
    """

    def __init__(self, spec: StreamSpec, container: str = "mp4") -> None:
        self._blocks = SingleBlockContainer(container, OPTIONS, spec, "aac")
        header = self._blocks.header()
        self._header_bytes = len(header)
        mark = spec.metadata.ai_mark()
        self.init = header if mark is None else _with_xmp(header, mark.xmp(), container)
        self._frame_time = spec.video.frame_time
        self._sound = ",mp4a.40.2" if spec.audio is not None else ""

    def fragment(self, block: Block | BlockPart) -> bytes:
        """One block: a `moof` box and its `mdat`."""
        return self._blocks.add(block)[self._header_bytes :]

    def frames(self, fragment: bytes) -> range:
        """The numbers of the frames in a fragment; empty for an incomplete one."""
        (ticks,) = struct.unpack_from(">I", find(self.init, "moov", "trak", "mdia", "mdhd"), 12)
        part = next(fragments(io.BytesIO(fragment)), None)
        start = 0 if part is None else round(part.time / (ticks * self._frame_time))
        return range(start, start + (0 if part is None else len(part.sizes)))

    def mime(self) -> str:
        """The MIME type for Media Source Extensions; h264 only."""
        avcc = find(self.init, "moov", "trak", "mdia", "minf", "stbl", "stsd", "avc1", "avcC")
        return f'video/mp4; codecs="avc1.{avcc[1:4].hex()}{self._sound}"'


class Mp4Muxer:
    """Muxes one MP4 or MOV file as hybrid MP4.

    While it grows it is a fragmented file, playable up to the last block. `finish` adds an index of
    all fragments and turns everything before it into the data of an ordinary file by overwriting 16
    bytes. The file is readable at every moment.
    """

    def __init__(self, spec: StreamSpec, container: str = "mp4") -> None:
        self._fragments = Mp4Fragmenter(spec, container)
        self._frame_time = spec.video.frame_time

    def header(self) -> bytes:
        """File type, 16 spare bytes for the later `mdat` header, and the `moov` of the codec."""
        init = self._fragments.init
        first = next(walk(init))
        return init[: first.end] + box("free", bytes(8)) + init[first.end :]

    def add(self, block: Block | BlockPart) -> bytes:
        """One fragment."""
        return self._fragments.fragment(block)

    def trailer(self) -> bytes:
        """No bytes: a fragmented stream needs no end."""
        return b""

    def finish(self, file: BinaryIO, chapters: Sequence[Chapter] = ()) -> None:
        """Make the file an ordinary one, with its index and chapters at the end."""
        write_index(file, self._frame_time, chapters)
