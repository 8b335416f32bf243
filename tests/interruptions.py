"""Helpers to disturb runs of the command line while they run."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from sana_stream.engine.block import Block
from sana_stream.engine.session.block_generator import LatentBlock
from sana_stream.engine.session.session import Session
from sana_stream.engine.snapshot.snapshot import Snapshot
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.control.pending_changes import PendingChanges

from .command import run

STORY = ("--prompt", "a red boat", "--prompt", "night falls over the sea")
FRAMES = 60  # of the tiny model: blocks of 9, 8, 8 ... frames
LIVE = ("--prompt", "a red boat", "--interactive", "--no-realtime")
posix = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
if os.name == "posix":
    signal.signal(signal.SIGUSR2, lambda *_: None)  # wakes a thread, see `send`


def at_block(monkeypatch: pytest.MonkeyPatch, block: int, what: Callable[[], None]) -> None:
    """Call `what` while the block is decoded."""
    decode = Session.decode

    def disturbed(
        session: Session, latent_block: LatentBlock, before: Snapshot
    ) -> tuple[Block, Snapshot]:
        if latent_block.span.index == block:
            what()
        return decode(session, latent_block, before)

    monkeypatch.setattr(Session, "decode", disturbed)


def send(number: int) -> None:
    """Signal this process and wait until the run has noticed, at most 2 seconds.

    The main thread runs the handler. A signal that comes just before it sleeps to wait for this
    thread does not wake it: it would run the handler only when the block has ended, which is early
    enough, but late. So it is woken by signals that do nothing else.
    """
    handler: Any = signal.getsignal(number)
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    os.kill(os.getpid(), number)
    until = time.monotonic() + 2
    while not handler.__self__.requested.wait(0.02) and time.monotonic() < until:
        signal.pthread_kill(main_thread, signal.SIGUSR2)


def interrupt() -> None:
    send(signal.SIGINT)


def collapse() -> None:
    raise RuntimeError("the roof has come down")


def make(name: str, *more: str, frames: int = FRAMES) -> int:
    return run(*STORY, "--frames", str(frames), "--out", name, *more)


def make_interrupted(
    monkeypatch: pytest.MonkeyPatch, block: int, name: str, *more: str, frames: int = FRAMES
) -> None:
    """Make a video and interrupt it in a block, which is still finished."""
    with monkeypatch.context() as patch:
        at_block(patch, block, interrupt)
        assert make(name, *more, frames=frames) == 130


def submit_before(monkeypatch: pytest.MonkeyPatch, block: int, changes: PendingChanges) -> None:
    """Submit live changes before the block at index `block` of the run."""
    calls = iter(range(1000))
    monkeypatch.setattr(
        LiveControl, "drain", lambda *_: changes if next(calls) == block else PendingChanges()
    )


def fork(*argv: str) -> int:
    """Run the command in a fork of this process and return its process id."""
    child = os.fork()
    if child == 0:
        os._exit(run(*argv))
    return child


def wait_for(file: Path) -> None:
    until = time.monotonic() + 120
    while not file.exists():
        assert time.monotonic() < until, f"{file.name} was not written"
        time.sleep(0.01)


def wait_for_checkpoint(file: Path, process: int, after: int = 0) -> None:
    """Wait for a checkpoint with another time stamp than `after`, or for the process's end."""
    until = time.monotonic() + 120
    while psutil.Process(process).status() != psutil.STATUS_ZOMBIE:
        if file.exists() if not after else modified(file) != after:
            return
        assert time.monotonic() < until, "no checkpoint was written"
        time.sleep(0.01)


def modified(file: Path) -> int:
    """Return a file's modification time in nanoseconds, 0 for a missing file."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
