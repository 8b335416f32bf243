"""Signals: the first one ends the run after the current block, the second one immediately."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType
from typing import Any, Self

from .log_file import write_at_once
from .log_format import LOGGER, json_line, json_log

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_FINISHING = "finishing this block and closing the video; press Ctrl-C again to stop immediately"


def _finishing_line() -> bytes:
    if json_log() is not None:
        return json_line("info", LOGGER, _FINISHING).encode()
    return f"\n{_FINISHING}\n".encode()


class Interrupted(BaseException):
    """A signal came before the first block; the argument is the exit code.

    It is no KeyboardInterrupt: after one that passed through `exec` of a string, as in many
    imports, CPython ends the process by SIGINT and the exit code is lost.
    """


class SignalHandler:
    """A context in which Ctrl-C, SIGTERM and SIGHUP end the run in an orderly way.

    The first signal sets the event `requested`, so that a block and a file can be finished; inside
    `interruptible` it raises `Interrupted`. The second one ends the process. With `announce`, the
    first one prints a line.
    """

    def __init__(self, announce: bool) -> None:
        self.requested = threading.Event()
        self._announce = announce
        self._interruptible = False
        self._signal: int | None = None
        self._received: SimpleQueue[bool] = SimpleQueue()
        self._previous: dict[int, Any] = {}

    @property
    def exit_code(self) -> int:
        """128 plus the number of the signal, as in a shell (Ctrl-C: 130); 0 without a signal."""
        return 0 if self._signal is None else 128 + self._signal

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a signal raise `Interrupted` inside the context."""
        self._interruptible = True
        try:
            self.check()
            yield
        except Exception:
            self.check()  # a library may have turned Interrupted into another error
            raise
        finally:
            self._interruptible = False
        self.check()

    def check(self) -> None:
        """Raise `Interrupted` if a signal was received."""
        if self._signal is not None:
            raise Interrupted(self.exit_code)

    def __enter__(self) -> Self:
        threading.Thread(target=self._relay, name="signals", daemon=True).start()
        for number in _SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # as under `nohup`
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._received.put(False)

    def _relay(self) -> None:
        """Set `requested` from a thread: the signal may interrupt a method of that event."""
        if self._received.get():
            self.requested.set()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            os._exit(128 + number)
        self._signal = number
        self._received.put(True)
        if self._interruptible:
            self.check()
        if self._announce:
            # the code that the signal interrupted may hold the console's lock
            write_at_once(2, _finishing_line())
