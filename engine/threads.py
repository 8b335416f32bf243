"""How many of the CPU's cores each of several stages takes that run at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from .cpu_share import allowed_cores

_CHOSEN_BY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def shared_threads(device: torch.device, stages: int = 2) -> Iterator[None]:
    """Give each of `stages` that run at once its share of torch's threads while this is entered.

    Threads of two stages that compete for one core make both several times slower. A number that
    somebody has chosen, by the environment or below the number of cores, stays; on a GPU nothing
    changes.
    """
    threads = torch.get_num_threads()
    chosen = any(name in os.environ for name in _CHOSEN_BY) or threads < core_count()
    if device.type != "cpu" or chosen:
        yield
        return
    torch.set_num_threads(max(1, min(threads, allowed_cores()) // stages))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def stay_within_quota() -> None:
    """Lower torch's number of threads to what the process may use, unless somebody has chosen it.

    torch counts processors, but not the quota of a container: on a large machine tens of threads
    would share one processor's time.
    """
    if not any(name in os.environ for name in _CHOSEN_BY):
        torch.set_num_threads(min(torch.get_num_threads(), allowed_cores()))


def core_count() -> int:
    """The cores that this process may use."""
    return min(psutil.cpu_count(logical=False) or os.cpu_count() or 1, allowed_cores())
