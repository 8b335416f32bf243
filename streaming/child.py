"""Protocols that ffmpeg speaks, through a child process that can be killed when it hangs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from threading import Event

from .errors import Stopped, TargetError
from .transport import PIPE_CHUNK, await_ready

FORMATS = {"rtmp": "flv", "rtmps": "flv", "srt": "mpegts", "http": "mpegts", "https": "mpegts"}
_CLOSING = 10.0  # seconds that the child may take to deliver the rest


class ChildTransport:
    """Feeds Matroska to an ffmpeg that copies it to an address as fast as it plays.

    A child that takes nothing for `timeout` seconds, or has ended, is an OSError that says what
    ffmpeg said last.
    """

    def __init__(self, address: str, stop: Event, timeout: float) -> None:
        self._stop = stop
        self._timeout = timeout
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
        view = memoryview(data)
        try:
            while view:
                await_ready(descriptor, self._stop, timeout=self._timeout)
                view = view[os.write(descriptor, view[:PIPE_CHUNK]) :]
        except Stopped:
            raise
        except OSError as error:
            self._end(0.5)
            raise OSError(self._last_words() or error.strerror or str(error)) from error

    def close(self) -> None:
        """Let the child deliver what it has, then end it."""
        self._end(1.0 if self._stop.is_set() else _CLOSING)
        self._errors.close()

    def _end(self, patience: float) -> None:
        if self._child.stdin:
            self._child.stdin.close()
        try:
            self._child.wait(patience)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _last_words(self) -> str:
        if self._errors.closed:
            return ""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def find_ffmpeg(address: str) -> str:
    """Where ffmpeg is; TargetError without it."""
    path = shutil.which("ffmpeg")
    if path is None:
        scheme = address.split(":")[0]
        raise TargetError(
            f"{scheme}:// needs the program ffmpeg, which is not installed; install it, or write "
            "to a file, standard output, tcp://, unix:// or udp://"
        )
    return path
