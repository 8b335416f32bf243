"""Protocols that ffmpeg speaks, through a child process that can be killed when it hangs."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from threading import Event
from urllib.parse import urlsplit

from sana_stream._text import safe_text
from sana_stream.errors import InvalidOutputError, OutputCancelled

from .transports import PIPE_CHUNK, wait_until_ready

FORMATS = {"rtmp": "flv", "rtmps": "flv", "srt": "mpegts", "http": "mpegts", "https": "mpegts"}
_CLOSING = 10.0  # seconds that the child may take to deliver the rest, once it has played
_STOPPING = 1.0  # and when the run is to stop
_LAST_BYTES = 1 << 16  # of what a child has said; it may complain for hours
_SOURCE = re.compile(r"^(\[[^\]]*\]\s*)+")  # which part of ffmpeg speaks


class FFmpegTransport:
    """Feeds Matroska to an ffmpeg that copies it to an address as fast as it plays.

    A child that takes nothing for `timeout` seconds, or has ended, is an OSError that says what
    ffmpeg said last.
    """

    def __init__(self, address: str, stop: Event, timeout: float) -> None:
        self._stop = stop
        self._timeout = timeout
        self._address = address
        self._played = time.monotonic()  # when everything sent so far has been shown
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        command = [find_ffmpeg(address), "-v", "error", "-nostdin", "-re", "-f", "matroska"]
        command += ["-i", "pipe:0", "-c", "copy", "-f", FORMATS[address.split(":")[0]], address]
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            start_new_session=True,  # Ctrl-C is for us; the child ends when its input does
        )

    @property
    def process(self) -> int:
        """The child's process number."""
        return self._child.pid

    def send(self, data: bytes | memoryview, seconds: float) -> None:
        """Give the child everything."""
        assert self._child.stdin
        descriptor = self._child.stdin.fileno()
        self._played = max(self._played, time.monotonic()) + seconds
        view = memoryview(data)
        try:
            while view:
                wait_until_ready(descriptor, self._stop, timeout=self._timeout)
                view = view[os.write(descriptor, view[:PIPE_CHUNK]) :]
        except OutputCancelled:
            raise
        except OSError as error:
            self._end(0.5)
            raise OSError(self._last_words() or error.strerror or str(error)) from error

    def finish(self) -> None:
        """Let the child deliver what it has, at the pace at which it plays, and ask how it went.

        What fits into the pipe is written in no time, whether the child has a connection or not:
        only its end tells.
        """
        assert self._child.stdin
        self._child.stdin.close()
        patience = max(0.0, self._played - time.monotonic()) + _CLOSING
        status = self._await_end(patience)
        if status is None:
            raise OSError(f"ffmpeg did not come to an end in {patience:.0f} s; it was killed")
        if status:
            raise OSError(self._last_words() or f"ffmpeg ended with status {status}")

    def close(self) -> None:
        """End the child, if it has not ended."""
        self._end(1.0 if self._stop.is_set() else _CLOSING)
        self._errors.close()

    def _await_end(self, patience: float) -> int | None:
        """The child's exit status; None when it had to be killed. Hurries when the run stops."""
        end = time.monotonic() + patience
        while self._child.poll() is None and time.monotonic() < end:
            if self._stop.is_set():
                end = min(end, time.monotonic() + _STOPPING)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(0.1)
        if self._child.poll() is None:
            self._end(0.0)
            if self._stop.is_set():
                raise OutputCancelled("the rest is dropped")
            return None
        return self._child.returncode

    def _end(self, patience: float) -> None:
        if self._child.stdin:
            with contextlib.suppress(OSError):
                self._child.stdin.close()
        try:
            self._child.wait(patience)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _last_words(self) -> str:
        """What ffmpeg said last, without the key of the stream."""
        if self._errors.closed:
            return ""
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - _LAST_BYTES))
        text = self._errors.read().decode(errors="replace")
        for secret in _secrets_of(self._address):
            text = text.replace(secret, "...")
        lines = (_SOURCE.sub("", line).strip() for line in reversed(text.splitlines()))
        return safe_text(next((line for line in lines if line), "")).lower()


def _secrets_of(address: str) -> tuple[str, ...]:
    """The parts of an address that nobody else may read, the longest first."""
    parts = urlsplit(address)
    user = parts.netloc.rpartition("@")[0]
    found = (address, parts.query, parts.path.strip("/"), parts.path.rpartition("/")[2], user)
    return tuple(sorted((part for part in found if len(part) > 2), key=len, reverse=True))


def find_ffmpeg(address: str) -> str:
    """Where ffmpeg is; InvalidOutputError without it."""
    path = shutil.which("ffmpeg")
    if path is None:
        scheme = address.split(":")[0]
        raise InvalidOutputError(
            f"{scheme}:// needs the program ffmpeg, which is not installed; install it, or write "
            "to a file, standard output, tcp://, unix:// or udp://"
        )
    return path
