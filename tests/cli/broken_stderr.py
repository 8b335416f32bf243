"""Unusable standard error streams: closed, full, or without a reader."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..command import command, environment, forkable, light_environment, spawn

Started = subprocess.Popen[bytes]
Broken = Callable[[], "contextlib.AbstractContextManager[dict[str, Any]]"]


@contextmanager
def closed() -> Iterator[dict[str, Any]]:
    yield {"preexec_fn": lambda: os.close(2)}


@contextmanager
def all_closed() -> Iterator[dict[str, Any]]:
    yield {"preexec_fn": lambda: os.closerange(0, 3), "stdin": None, "stdout": None}


@contextmanager
def full_disk() -> Iterator[dict[str, Any]]:
    with open("/dev/full", "wb") as full:
        yield {"stderr": full}


@contextmanager
def read_only() -> Iterator[dict[str, Any]]:
    with open(os.devnull, "rb") as null:
        yield {"stderr": null}


@contextmanager
def reader_gone() -> Iterator[dict[str, Any]]:
    read, write = os.pipe()
    os.close(read)
    yield {"stderr": write}
    os.close(write)


@contextmanager
def never_read() -> Iterator[dict[str, Any]]:
    """A full pipe that is never read."""
    read, write = os.pipe()
    fill(write)
    yield {"stderr": write}
    os.close(write)
    os.close(read)


@contextmanager
def socket_never_read() -> Iterator[dict[str, Any]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fill(theirs.fileno())
        yield {"stderr": theirs.fileno()}


@contextmanager
def terminal_never_read() -> Iterator[dict[str, Any]]:
    """A full terminal, as after Ctrl-S, whose display is still drawn."""
    import pty

    ours, theirs = pty.openpty()
    fill(theirs)
    yield {"stderr": theirs}
    os.close(ours)
    os.close(theirs)


@contextmanager
def terminal_gone() -> Iterator[dict[str, Any]]:
    import pty

    ours, theirs = pty.openpty()
    os.close(ours)
    yield {"stderr": theirs, "preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    os.close(theirs)


BROKEN: dict[str, Broken] = {
    "closed": closed,
    "all closed": all_closed,
    "full disk": full_disk,
    "read only": read_only,
    "reader gone": reader_gone,
    "never read": never_read,
    "socket never read": socket_never_read,
    "terminal never read": terminal_never_read,
    "terminal gone": terminal_gone,
}


def fill(descriptor: int) -> None:
    """Write until the descriptor is full; restore its blocking mode."""
    os.set_blocking(descriptor, False)
    with contextlib.suppress(BlockingIOError):
        for size in (65536, 1):
            while True:
                try:
                    os.write(descriptor, b"x" * size)
                except BlockingIOError:
                    break
    os.set_blocking(descriptor, True)


def terminal(columns: int, rows: int = 24) -> tuple[int, int]:
    """Open both ends of a pseudo-terminal of a given size."""
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    return ours, theirs


def begin(
    argv: Sequence[str | Path], cwd: Path, *, light: bool = True, fresh: bool = False, **more: Any
) -> Started:
    """Start `sana-stream` with its standard streams on the null device unless `more` sets them.

    Args:
        light: a new interpreter runs in `light_environment`.
        fresh: start a new interpreter even where `spawn` could fork.
        more: passed to `spawn`; `environ` is added to the environment.
    """
    null = subprocess.DEVNULL
    fresh = fresh or not forkable(more)
    environ = light_environment() if light and fresh else environment()
    more = {"stdin": null, "stdout": null} | more
    environ |= more.pop("environ", {})
    return spawn(command(argv), fresh=fresh, cwd=cwd, env=environ, **more)
