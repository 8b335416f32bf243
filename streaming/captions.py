"""The WebVTT file beside a video: which prompt was shown from when to when."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

from .wholefile import WholeFile


class CaptionFile:
    """A caption a prompt, the last one growing with each block; complete after every call.

    The file can be shown as captions and read again as a story. Times are in seconds.
    """

    def __init__(self, path: Path, overwrite: bool = False) -> None:
        self.path = path
        self._file = WholeFile(path, "w+b" if overwrite else "x+b")
        self._file.write(b"WEBVTT\n")
        self._cue = self._file.tell()
        self._prompt: str | None = None
        self._begin = Fraction(0)

    def show(self, prompt: str, begin: Fraction, end: Fraction) -> None:
        """Say that `prompt` was on screen; the same prompt as before extends its caption."""
        if prompt != self._prompt:
            self._cue = self._file.seek(0, os.SEEK_END)
            self._prompt, self._begin = prompt, begin
        self._file.seek(self._cue)
        self._file.write(
            f"\n{timestamp(self._begin)} --> {timestamp(end)}\n{caption(prompt)}\n".encode()
        )

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


def caption(prompt: str) -> str:
    """A prompt as one line of caption text, in which no character means anything."""
    line = " ".join(prompt.split())
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
