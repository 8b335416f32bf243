"""Limits on CPU threads, and returning freed memory to the system."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

import psutil
import torch

from .cpu_share import allowed_cores

_CHOSEN_BY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_lock = Lock()
_entered: list[int] = []  # torch's threads before, for each entered `limit_threads`


@contextmanager
def limit_threads(device: torch.device, stages: int = 2) -> Iterator[None]:
    """Divide torch's threads between `stages` that run at once, while the context is entered.

    Threads of two stages that compete for one core make both several times slower. A number set by
    the user, in the environment or below the number of cores, is kept. On a GPU nothing changes.
    Contexts of several threads may overlap: the number at the first entry counts for all of them
    and is restored at the last exit.
    """
    if device.type != "cpu" or any(name in os.environ for name in _CHOSEN_BY):
        yield
        return
    with _lock:
        threads = _entered[0] if _entered else torch.get_num_threads()
        _entered.append(threads)
    if threads >= core_count():
        torch.set_num_threads(max(1, min(threads, allowed_cores()) // stages))
    try:
        yield
    finally:
        with _lock:
            _entered.pop()
            if not _entered:
                torch.set_num_threads(threads)


def stay_within_quota() -> None:
    """Lower torch's number of threads to what the process may use, unless the user has set it.

    torch counts processors and ignores the quota of a container: on a large machine tens of
    threads would share the time of one processor.
    """
    if not any(name in os.environ for name in _CHOSEN_BY):
        torch.set_num_threads(min(torch.get_num_threads(), allowed_cores()))


def core_count() -> int:
    """The number of physical cores that this process may use."""
    return min(psutil.cpu_count(logical=False) or os.cpu_count() or 1, allowed_cores())


EVERY_BLOCKS = 4  # keeps memory flat at no measurable cost


def trim_malloc() -> None:
    """Return freed memory to the system with `malloc_trim`; does nothing without glibc.

    Tensors that one thread allocates and another frees leave holes in glibc's heap, which would
    make a stream's memory grow for minutes.
    """
    if (trim := _malloc_trim()) is not None:
        trim(0)


@cache
def _malloc_trim() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
