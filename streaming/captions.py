"""The WebVTT file beside a video: which prompt was shown from when to when."""

from __future__ import annotations

import os
import re
from fractions import Fraction
from pathlib import Path

from .wholefile import WholeFile

_TIME = r"(\d+:\d\d:\d\d\.\d{3})"
_CUE = re.compile(rf"^{_TIME} --> {_TIME}\n(.*)$", re.MULTILINE)


class CaptionFile:
    """A caption a prompt, the last one growing with each block; complete after every call.

    The file can be shown as captions and read again as a story. Times are in seconds.
    """

    def __init__(self, path: Path, overwrite: bool = False) -> None:
        self.path = path
        self._file = WholeFile(path, "w+b" if overwrite else "x+b")
        self._file.write(b"WEBVTT\n")
        self._cue = self._file.tell()
        self._text: str | None = None
        self._begin = Fraction(0)

    @classmethod
    def reopened(cls, path: Path, kept: Fraction) -> CaptionFile:
        """Go on with the captions of an earlier run, of which so many seconds are kept."""
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        captions, kept = cls(path, overwrite=True), _seconds(timestamp(kept))
        for begin, end, text in _CUE.findall(old):
            if _seconds(begin) < kept:
                captions._show(text, _seconds(begin), min(_seconds(end), kept))
        return captions

    def show(self, prompt: str, begin: Fraction, end: Fraction) -> None:
        """Say that `prompt` was on screen; the same prompt as before extends its caption."""
        self._show(caption(prompt), begin, end)

    def _show(self, text: str, begin: Fraction, end: Fraction) -> None:
        if text != self._text:
            self._cue = self._file.seek(0, os.SEEK_END)
            self._text, self._begin = text, begin
        self._file.seek(self._cue)
        self._file.write(f"\n{timestamp(self._begin)} --> {timestamp(end)}\n{text}\n".encode())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def timestamp(seconds: Fraction) -> str:
    """A time as WebVTT writes it: hours, minutes, seconds, thousandths."""
    total = round(seconds * 1000)
    minutes, thousandths = divmod(total, 60_000)
    hours, minutes = divmod(minutes, 60)
    whole, rest = divmod(thousandths, 1000)
    return f"{hours:02}:{minutes:02}:{whole:02}.{rest:03}"


def _seconds(time: str) -> Fraction:
    hours, minutes, seconds = time.split(":")
    return Fraction(int(hours) * 3600 + int(minutes) * 60) + Fraction(seconds)


def caption(prompt: str) -> str:
    """A prompt as one line of caption text, in which no character means anything."""
    line = " ".join(prompt.split())
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
