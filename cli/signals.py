"""Ending a run from outside: the first signal asks for it, the second one makes it so."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType, TracebackType
from typing import Any, Self

from .log_file import write_at_once

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_FINISHING = b"\nfinishing this block and closing the video; once more stops at once\n"


class Interrupted(BaseException):
    """A signal before there is any video; carries the exit code.

    Not a KeyboardInterrupt: where one passes through `exec` of a string, as in many an import,
    CPython kills the process by SIGINT at its end, whatever exit code it was to have.
    """


class SignalHandler:
    """Listens to Ctrl-C, SIGTERM and SIGHUP while it is entered.

    The first signal sets `asked`, so that a block and a file can be finished; inside
    `interruptible` it raises `Interrupted`. A second one ends the process.
    """

    def __init__(self, announce: bool) -> None:
        self.requested = threading.Event()
        self._aloud = announce
        self._at_once = False
        self._signal: int | None = None
        self._came: SimpleQueue[bool] = SimpleQueue()
        self._before: dict[int, Any] = {}

    @property
    def exit_code(self) -> int:
        """As a shell reports the signal: 130 for Ctrl-C, 143 for SIGTERM; 0 without one."""
        return 0 if self._signal is None else 128 + self._signal

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A signal ends what runs inside, however long it would take."""
        self._at_once = True
        try:
            self.check()
            yield
        except Exception:
            self.check()  # raised inside a library, it may have come out as another error
            raise
        finally:
            self._at_once = False
        self.check()

    def check(self) -> None:
        """Raise `Interrupted` when a signal has come."""
        if self._signal is not None:
            raise Interrupted(self.exit_code)

    def __enter__(self) -> Self:
        threading.Thread(target=self._relay, name="signals", daemon=True).start()
        for number in _SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` leaves it
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._came.put(False)

    def _relay(self) -> None:
        """Set `asked` from a thread: the main one may be inside the event that it would set."""
        if self._came.get():
            self.requested.set()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            os._exit(128 + number)
        self._signal = number
        self._came.put(True)
        if self._at_once:
            self.check()
        if self._aloud:
            # the console may be locked by what the signal interrupted
            write_at_once(2, _FINISHING)
