"""Run a script as a process with a time limit, and pass on its lines as they come."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from queue import Empty, Queue
from threading import Thread
from typing import IO

ON_POSIX = os.name == "posix"


class Clock:
    """Time budget of all steps."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + minutes * 60

    @property
    def left(self) -> float:
        """Seconds."""
        return self._end - time.monotonic()


def run_script(
    words: Sequence[str],
    seconds: float,
    on_line: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a Python script.

    Args:
        words: the script and its arguments.
        seconds: after which it is killed, with the processes that it started.
        on_line: called with each line of standard output.
        environment: variables added to those of this process.

    Returns:
        "done", or why it ended: the last line of its standard error, or its time limit.
    """
    process = subprocess.Popen(
        [sys.executable, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        start_new_session=ON_POSIX,
    )
    try:
        return _follow(
            process, time.monotonic() + seconds, on_line, f"stopped after {seconds:.0f} s"
        )
    finally:
        _kill(process)


def _follow(
    process: subprocess.Popen[str], end: float, on_line: Callable[[str], None], too_long: str
) -> str:
    assert process.stdout is not None
    assert process.stderr is not None
    lines: Queue[str | None] = Queue()
    errors: list[str] = []
    readers = [
        Thread(target=_read, args=arguments, daemon=True)
        for arguments in ((process.stdout, lines.put), (process.stderr, _keeper(errors)))
    ]
    for reader in readers:
        reader.start()
    try:
        while (line := lines.get(timeout=max(0.0, end - time.monotonic()))) is not None:
            on_line(line)
        code = process.wait(timeout=max(0.0, end - time.monotonic()))
        for reader in readers:  # the last words of a process may be read after its end
            reader.join(timeout=max(0.0, end - time.monotonic()))
    except (Empty, subprocess.TimeoutExpired):
        return too_long
    if code == 0:
        return "done"
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return (errors or [f"exit status {code}"])[-1]


def _keeper(errors: list[str]) -> Callable[[str | None], None]:
    """A function that passes lines on to standard error and keeps the last one."""

    def keep(line: str | None) -> None:
        if line is not None and line.strip():
            print(line, file=sys.stderr, flush=True)
            errors[:] = [line.strip()[:300]]

    return keep


def _read(stream: IO[str], take: Callable[[str | None], None]) -> None:
    for line in stream:
        take(line.rstrip("\n"))
    take(None)


def _kill(process: subprocess.Popen[str]) -> None:
    """End a process that still runs, with those that it started (compilers)."""
    with suppress(ProcessLookupError):
        if ON_POSIX:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
