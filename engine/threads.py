"""How many of the CPU's cores each of several stages takes that run at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

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
    torch.set_num_threads(max(1, threads // stages))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def core_count() -> int:
    """The cores that this process may use."""
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return min(cores, len(os.sched_getaffinity(0)))
    return cores
