"""A connection through a child process, which is killed when it hangs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from abc import ABC, abstractmethod
from threading import Event
from urllib.parse import unquote, urlsplit

from sana_stream._text import safe_text
from sana_stream.errors import OutputCancelled

from .transports import PIPE_CHUNK, wait_until_ready

CLOSING = 10.0  # seconds for the child to deliver the rest, after it has played
_TERMINATING = 0.5  # seconds for the child to end its connection
_STOPPING = 1.0  # seconds for that when the run is to stop


class ChildTransport(ABC):
    """Feeds a child process, which sends to an address as fast as the stream plays.

    A child that has ended, or accepts no data for `timeout` seconds, is an OSError with the reason
    that it gave.
    """

    program = "the process"

    def __init__(self, address: str, stop: Event, timeout: float) -> None:
        self._stop = stop
        self._timeout = timeout
        self._secrets = secrets_of(address)
        self._played = time.monotonic()  # when everything sent so far has been shown
        self._child: subprocess.Popen[bytes] | None = None

    def send(self, data: bytes | memoryview, seconds: float) -> None:
        """Write everything to the child."""
        self._played = max(self._played, time.monotonic()) + seconds
        self._feed(data)

    def finish(self) -> None:
        """Wait until the child has delivered everything, as fast as it plays, and check its status.

        What fits into the pipe is written at once, whether the child has a connection or not, so
        only the child's exit status shows whether it was delivered.
        """
        assert self._child
        self._close_input()
        timeout = max(0.0, self._played - time.monotonic()) + CLOSING
        status = self._await_end(timeout)
        if status is None:
            raise OSError(f"{self.program} did not end within {timeout:.0f} s and was killed")
        if status:
            raise OSError(self._reason() or f"{self.program} ended with status {status}")

    def close(self) -> None:
        """End the child if it is still running."""
        self._end(1.0 if self._stop.is_set() else CLOSING)

    def kill(self) -> None:
        """End the child at once."""
        self._end(0.0)

    def _feed(self, data: bytes | memoryview) -> None:
        assert self._child
        assert self._child.stdin
        descriptor = self._child.stdin.fileno()
        view = memoryview(data)
        try:
            while view:
                wait_until_ready(descriptor, self._stop, timeout=self._timeout)
                view = view[os.write(descriptor, view[:PIPE_CHUNK]) :]
        except OutputCancelled:
            raise
        except OSError as error:
            self._end(0.5)
            ended = f"{self.program} has ended" if isinstance(error, BrokenPipeError) else ""
            reason = self._reason() or ended or error.strerror or str(error)
            raise OSError(reason) from error

    @abstractmethod
    def _reason(self) -> str:
        """Why the child has ended, as it has reported."""

    def _redacted(self, text: str) -> str:
        """A line of the child without the secret parts of the address."""
        for secret in self._secrets:
            text = text.replace(secret, "...")
        return safe_text(text)

    def _await_end(self, timeout: float) -> int | None:
        """The exit status of the child; None if it was killed. Waits less once `stop` is set."""
        assert self._child
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

    def _close_input(self) -> None:
        if self._child and self._child.stdin:
            with contextlib.suppress(OSError):
                self._child.stdin.close()

    def _end(self, timeout: float) -> None:
        if self._child is None:
            return
        self._close_input()
        for seconds, end in ((timeout, self._child.terminate), (_TERMINATING, self._child.kill)):
            try:
                self._child.wait(seconds)
                return
            except subprocess.TimeoutExpired:
                end()
        self._child.wait()


def secrets_of(address: str) -> tuple[str, ...]:
    """The secret parts of an address, the longest first."""
    parts = urlsplit(address)
    user = parts.netloc.rpartition("@")[0]
    found = (address, parts.query, parts.path.strip("/"), parts.path.rpartition("/")[2], user)
    found += (unquote(user),)
    return tuple(sorted((part for part in found if len(part) > 2), key=len, reverse=True))
