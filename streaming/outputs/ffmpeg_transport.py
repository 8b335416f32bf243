"""Protocols that the program ffmpeg supports and the wheels of PyAV do not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from threading import Event

from sana_stream.errors import InvalidOutputError

from .child import ChildTransport

FORMATS = {"srt": "mpegts", "rist": "mpegts"}
_LAST_BYTES = 1 << 16  # of what the child has logged, which may be long
_SOURCE = re.compile(r"^(\[[^\]]*\]\s*)+")  # the part of ffmpeg that logs


class FFmpegTransport(ChildTransport):
    """Feeds Matroska to an ffmpeg that copies it to an address as fast as it plays.

    The reason of a failure is the last line that ffmpeg has logged. `provider` is that of an
    MPEG-TS service.
    """

    program = "ffmpeg"

    def __init__(self, address: str, stop: Event, timeout: float, provider: str = "") -> None:
        super().__init__(address, stop, timeout)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        scheme = address.partition(":")[0]
        command = [find_ffmpeg(scheme), "-v", "error", "-nostdin", "-re", "-f", "matroska"]
        command += ["-i", "pipe:0", "-c", "copy"]
        if provider:
            command += ["-metadata", f"service_provider={provider}"]
        command += ["-f", FORMATS[scheme], address]
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            start_new_session=True,  # out of reach of Ctrl-C: it ends with its input
        )

    def close(self) -> None:
        """End the child if it is still running."""
        super().close()
        self._errors.close()

    def _reason(self) -> str:
        if self._errors.closed:
            return ""
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - _LAST_BYTES))
        text = self._errors.read().decode(errors="replace")
        lines = (_SOURCE.sub("", line).strip() for line in reversed(text.splitlines()))
        return self._redacted(next((line for line in lines if line), "")).lower()


def find_ffmpeg(scheme: str) -> str:
    """The path of the program ffmpeg, which addresses of this scheme need.

    Raises:
        InvalidOutputError: it is not installed.
    """
    path = shutil.which("ffmpeg")
    if path is None:
        raise InvalidOutputError(
            f"{scheme}:// needs the program ffmpeg, which is not installed; install it, or write "
            "to a file, standard output, tcp://, unix://, udp://, rtmp://, http:// or whip://"
        )
    return path
