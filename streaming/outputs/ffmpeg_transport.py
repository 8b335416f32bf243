"""Protocols that ffmpeg supports, through a child process that is killed when it hangs."""

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
_CLOSING = 10.0  # seconds for the child to deliver the rest, after it has played
_STOPPING = 1.0  # seconds for that when the run is to stop
_LAST_BYTES = 1 << 16  # of what the child has logged, which may be long
_SOURCE = re.compile(r"^(\[[^\]]*\]\s*)+")  # the part of ffmpeg that logs


class FFmpegTransport:
    """Feeds Matroska to an ffmpeg that copies it to an address as fast as it plays.

    A child that has ended, or accepts no data for `timeout` seconds, is an OSError with the last
    line that ffmpeg has logged. `provider` is that of an MPEG-TS service.
    """

    def __init__(self, address: str, stop: Event, timeout: float, provider: str = "") -> None:
        self._stop = stop
        self._timeout = timeout
        self._address = address
        self._played = time.monotonic()  # when everything sent so far has been shown
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

    def send(self, data: bytes | memoryview, seconds: float) -> None:
        """Write everything to the child."""
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
            raise OSError(self._last_log_line() or error.strerror or str(error)) from error

    def finish(self) -> None:
        """Wait until the child has delivered everything, as fast as it plays, and check its status.

        What fits into the pipe is written at once, whether the child has a connection or not, so
        only the child's exit status shows whether it was delivered.
        """
        assert self._child.stdin
        self._child.stdin.close()
        timeout = max(0.0, self._played - time.monotonic()) + _CLOSING
        status = self._await_end(timeout)
        if status is None:
            raise OSError(f"ffmpeg did not end within {timeout:.0f} s and was killed")
        if status:
            raise OSError(self._last_log_line() or f"ffmpeg ended with status {status}")

    def close(self) -> None:
        """End the child if it is still running."""
        self._end(1.0 if self._stop.is_set() else _CLOSING)
        self._errors.close()

    def _await_end(self, timeout: float) -> int | None:
        """The exit status of the child; None if it was killed. Waits less once `stop` is set."""
        end = time.monotonic() + timeout
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

    def _end(self, timeout: float) -> None:
        if self._child.stdin:
            with contextlib.suppress(OSError):
                self._child.stdin.close()
        try:
            self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _last_log_line(self) -> str:
        """The last line that ffmpeg has logged, without the key of the stream."""
        if self._errors.closed:
            return ""
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - _LAST_BYTES))
        text = self._errors.read().decode(errors="replace")
        for secret in _secrets_of(self._address):
            text = text.replace(secret, "...")
        lines = (_SOURCE.sub("", line).strip() for line in reversed(text.splitlines()))
        return safe_text(next((line for line in lines if line), "")).lower()


def _secrets_of(address: str) -> tuple[str, ...]:
    """The secret parts of an address, the longest first."""
    parts = urlsplit(address)
    user = parts.netloc.rpartition("@")[0]
    found = (address, parts.query, parts.path.strip("/"), parts.path.rpartition("/")[2], user)
    return tuple(sorted((part for part in found if len(part) > 2), key=len, reverse=True))


def find_ffmpeg(scheme: str) -> str:
    """The path of the program ffmpeg, which addresses of this scheme need.

    Raises:
        InvalidOutputError: it is not installed.
    """
    path = shutil.which("ffmpeg")
    if path is None:
        raise InvalidOutputError(
            f"{scheme}:// needs the program ffmpeg, which is not installed; install it, or write "
            "to a file, standard output, tcp://, unix:// or udp://"
        )
    return path
