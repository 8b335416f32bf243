"""The WebVTT file next to a video: which prompt was shown from when to when."""

from __future__ import annotations

import os
import re
from fractions import Fraction
from pathlib import Path

from sana_stream._prompts import escape_blend
from sana_stream.streaming.containers.chapters import Chapter
from sana_stream.streaming.run_mark import run_mark

from .unbuffered_file import UnbufferedFile

_TIME = rb"\d+:\d\d:\d\d\.\d{3}"
_CUE = re.compile(rb"\n(?P<begin>%b) --> (?P<end>%b)\n(?P<text>.*)\n" % (_TIME, _TIME))


class CaptionFile:
    """Writes one caption for each prompt, the last one growing with each block.

    The file is complete after every call. It can be shown as captions and read again as a story.

    Args:
        path: the file.
        overwrite: replace a file that exists.
        kept: append to the captions of an earlier run after their first `kept` seconds.
        run: the id of the run, which is written into the file.
        source_type: the video's digital source type, which is written into the file.

    Raises:
        OSError: it exists without `overwrite`, or cannot be written.
    """

    def __init__(
        self,
        path: Path,
        overwrite: bool = False,
        kept: Fraction = Fraction(0),
        run: str | None = None,
        source_type: str | None = None,
    ) -> None:
        self.path = path
        self._text: str | None = None
        self._begin = Fraction(0)
        last = _last_cue(path, kept) if kept else None
        if last is None:
            self._file = UnbufferedFile(path, "w+b" if overwrite or kept else "x+b")
            self._begin_file(_header(run, source_type))
        else:
            self._file = UnbufferedFile(path, "r+b")
            self._resume(last, kept)

    def _begin_file(self, header: bytes) -> None:
        """Write the head; a file with no space for it is removed again."""
        try:
            self._file.write(header)
        except OSError:
            self._file.close()
            self.path.unlink(missing_ok=True)
            raise
        self._cue = self._file.tell()

    def show(self, prompt: str, begin: Fraction, end: Fraction) -> None:
        """Add a caption from `begin` to `end` seconds; a repeated prompt extends the last one."""
        self._show(caption(prompt), begin, end)

    def _resume(self, last: re.Match[bytes], kept: Fraction) -> None:
        """Make `last` the last caption; the captions to keep stay in the file at every moment."""
        self._file.truncate(last.end())
        self._cue = last.start()
        self._begin = _seconds(last["begin"])
        self._text = text = last["text"].decode()
        self._show(text, self._begin, min(_seconds(last["end"]), kept))

    def _show(self, text: str, begin: Fraction, end: Fraction) -> None:
        if text != self._text:
            self._cue = self._file.seek(0, os.SEEK_END)
            self._text, self._begin = text, begin
        self._file.seek(self._cue)
        self._file.write(f"\n{timestamp(self._begin)} --> {timestamp(end)}\n{text}\n".encode())

    def chapters(self, frame_time: Fraction) -> tuple[Chapter, ...]:
        """The captions as chapters; none where there is a single prompt."""
        self._file.seek(0)
        found = read_chapters(self._file.read(), frame_time)
        return found if len(found) > 1 else ()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _header(run: str | None, source_type: str | None) -> bytes:
    notes = (None if run is None else run_mark(run), source_type)
    return ("WEBVTT\n" + "".join(f"\nNOTE {note}\n" for note in notes if note)).encode()


def timestamp(seconds: Fraction) -> str:
    """A time in WebVTT's form: hours, minutes, seconds, milliseconds."""
    total = round(seconds * 1000)
    minutes, thousandths = divmod(total, 60_000)
    hours, minutes = divmod(minutes, 60)
    whole, rest = divmod(thousandths, 1000)
    return f"{hours:02}:{minutes:02}:{whole:02}.{rest:03}"


def _last_cue(path: Path, kept: Fraction) -> re.Match[bytes] | None:
    """The last caption of a file that begins before `kept` seconds."""
    kept = _seconds(timestamp(kept).encode())  # to the millisecond, as captions are
    found = _CUE.finditer(path.read_bytes() if path.exists() else b"")
    return max(
        (cue for cue in found if _seconds(cue["begin"]) < kept), key=re.Match.start, default=None
    )


def _seconds(time: bytes) -> Fraction:
    hours, minutes, seconds = time.decode().split(":")
    return Fraction(int(hours) * 3600 + int(minutes) * 60) + Fraction(seconds)


def read_chapters(captions: bytes, frame_time: Fraction) -> tuple[Chapter, ...]:
    """The captions of a file as chapters; raises ValueError for a text that is not UTF-8."""
    return tuple(
        Chapter(
            round(_seconds(cue["begin"]) / frame_time),
            round(_seconds(cue["end"]) / frame_time),
            _unescaped(cue["text"].decode()),
        )
        for cue in _CUE.finditer(captions)
    )


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def caption(prompt: str) -> str:
    """A prompt as one line of caption text, with special characters escaped.

    A reader of stories reads the same prompt.
    """
    line = escape_blend(" ".join(prompt.split()))
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
