"""Runs of the command line that are disturbed while they go on."""

from __future__ import annotations

import os
import signal
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
from sana_stream.streaming.control.live_control import LiveControl, PendingChanges

from .command import run

STORY = ("--prompt", "a red boat", "--prompt", "night falls over the sea")
FRAMES = 60  # of the tiny model: blocks of 9, 8, 8 ... frames
LIVE = ("--prompt", "a red boat", "--interactive", "--no-realtime")
posix = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


def at_block(monkeypatch: pytest.MonkeyPatch, block: int, what: Callable[[], None]) -> None:
    """Something happens while the block is decoded."""
    decode = Session.decode

    def disturbed(
        session: Session, latent_block: LatentBlock, before: Snapshot
    ) -> tuple[Block, Snapshot]:
        if latent_block.span.index == block:
            what()
        return decode(session, latent_block, before)

    monkeypatch.setattr(Session, "decode", disturbed)


def send(number: int) -> None:
    """Signal this process and wait until the run has noticed, however slow this machine is."""
    handler: Any = signal.getsignal(number)
    os.kill(os.getpid(), number)
    assert handler.__self__.requested.wait(120), "the signal was not noticed"


def interrupt() -> None:
    send(signal.SIGINT)


def collapse() -> None:
    raise RuntimeError("the roof has come down")


def make(name: str, *more: str) -> int:
    return run(*STORY, "--frames", str(FRAMES), "--out", name, *more)


def make_interrupted(monkeypatch: pytest.MonkeyPatch, block: int, name: str, *more: str) -> None:
    """A video that is interrupted in a block: that one is still finished."""
    with monkeypatch.context() as patch:
        at_block(patch, block, interrupt)
        assert make(name, *more) == 130


def say_before(monkeypatch: pytest.MonkeyPatch, block: int, said: PendingChanges) -> None:
    """Something is asked for before the block, which is the so many-th that is made."""
    calls = iter(range(1000))
    monkeypatch.setattr(
        LiveControl, "drain", lambda _: said if next(calls) == block else PendingChanges()
    )


def fork(*argv: str) -> int:
    """The command in a copy of this process; its number."""
    child = os.fork()
    if child == 0:
        os._exit(run(*argv))
    return child


def wait_for(file: Path) -> None:
    until = time.monotonic() + 120
    while not file.exists():
        assert time.monotonic() < until, f"{file.name} did not come"
        time.sleep(0.01)


def wait_for_checkpoint(file: Path, process: int, after: int = 0) -> None:
    """Until there is a checkpoint, later than this, or the process has ended."""
    until = time.monotonic() + 120
    while psutil.Process(process).status() != psutil.STATUS_ZOMBIE:
        if file.exists() if not after else modified(file) != after:
            return
        assert time.monotonic() < until, "no checkpoint came"
        time.sleep(0.01)


def modified(file: Path) -> int:
    """When a file was written; 0 for one that is gone."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
