"""Connections of libavformat: each in a child process, made again where it was lost."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from threading import Event

from .child import ChildTransport
from .relay_format import BEGIN, BEGUN, FAILED, Description
from .transports import wait_until_ready

_MODULE = "sana_stream.streaming.outputs.relay_process"
_CONNECTING = 10.0  # seconds for a connection
_AGAIN = 2.0  # seconds of waiting for one that is made again, after which the next block asks


class RelayTransport(ChildTransport):
    """A child process with a connection of libavformat.

    A server may close a connection on which nothing comes, while a model is loaded: such a child
    ends its connection itself, and another one is started for the first data.
    """

    program = "the process of the connection"

    def __init__(self, described: Description, stop: Event, timeout: float) -> None:
        super().__init__(described.address, stop, timeout)
        token = described.options.get("authorization", "")
        self._secrets = tuple(part for part in (token, *self._secrets) if part)
        self._described = described
        self._begun = False
        self._start(described)

    def await_connection(self, seconds: float) -> bool:
        """Wait until there is a connection; False after `seconds` seconds; OSError if it failed."""
        try:
            return self._next_line(seconds) is not None
        except EOFError as error:
            raise OSError(str(error)) from error

    def send(self, data: bytes | memoryview, seconds: float) -> None:
        """Write everything to the child."""
        if not self._begun and data:
            self._begin()
        super().send(data, seconds)

    def _end(self, timeout: float) -> None:
        super()._end(timeout)
        self._reason()  # what it has answered, before the pipe is closed
        if self._child is not None and self._child.stdout is not None:
            self._child.stdout.close()

    def _start(self, described: Description) -> None:
        self._answers = b""
        self._last = ""  # why the child has ended
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # out of reach of Ctrl-C: it ends with its input
        )
        self._feed(described.pack())

    def _begin(self) -> None:
        """Use the connection, or make another one where it was not used for too long."""
        assert self._child
        assert self._child.stdin
        answer = None
        with contextlib.suppress(BrokenPipeError, EOFError):
            os.write(self._child.stdin.fileno(), BEGIN)
            answer = self._next_line(self._timeout)
        if answer != BEGUN:
            self.kill()
            self._start(replace(self._described, idle=None))
            if not self.await_connection(_CONNECTING):
                raise TimeoutError(f"no answer within {_CONNECTING:.0f} s")
            self._feed(BEGIN)
        self._begun = True

    def _next_line(self, seconds: float) -> str | None:
        """The next answer; None if none comes; OSError where the child has failed, EOFError where
        it has ended."""
        assert self._child
        assert self._child.stdout
        descriptor, deadline = self._child.stdout.fileno(), time.monotonic() + seconds
        while b"\n" not in self._answers:
            try:
                left = max(0.0, deadline - time.monotonic())
                wait_until_ready(descriptor, self._stop, reading=True, timeout=left)
            except TimeoutError:
                return None
            if not (data := os.read(descriptor, 1 << 12)):
                raise EOFError(f"{self.program} has ended")
            self._answers += data
        line, _, self._answers = self._answers.partition(b"\n")
        text = line.decode(errors="replace")
        if text.startswith(FAILED):
            raise OSError(self._redacted(text.removeprefix(FAILED)).lower())
        return text

    def _reason(self) -> str:
        if not self._last and self._child and self._child.stdout and not self._child.stdout.closed:
            try:
                while self._next_line(0.0) is not None:
                    pass
            except EOFError:
                pass  # it was killed
            except OSError as error:
                self._last = str(error)
        return self._last


class RelayConnector:
    """Makes the connections of one output, each in a process of its own.

    The first one is waited for. A later one is made while the run continues: until it is there, a
    call raises BlockingIOError.
    """

    def __init__(self, described: Description, idle: float, stop: Event, timeout: float) -> None:
        self._described = described
        self._idle: float | None = idle
        self._stop = stop
        self._timeout = timeout
        self._pending: RelayTransport | None = None
        self._begun = 0.0

    def __call__(self) -> RelayTransport:
        """A connection; raises OSError where there is none."""
        first = self._idle is not None
        if self._pending is None:
            self._begun = time.monotonic()
            described = replace(self._described, idle=self._idle)
            self._idle = None
            self._pending = RelayTransport(described, self._stop, self._timeout)
        try:
            connected = self._pending.await_connection(_CONNECTING if first else _AGAIN)
        except OSError:
            self.close()
            raise
        if connected:
            transport, self._pending = self._pending, None
            return transport
        if time.monotonic() - self._begun >= _CONNECTING:
            self.close()
            raise TimeoutError(f"no answer within {_CONNECTING:.0f} s")
        raise BlockingIOError("no connection yet")

    def close(self) -> None:
        """End a connection that is being made."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.kill()
