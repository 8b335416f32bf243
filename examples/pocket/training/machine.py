"""What this machine does best: the dtype it multiplies natively, and memory that is kept."""

from __future__ import annotations

import ctypes
import sys

import torch

from sana_stream.engine.device import resolve_dtype

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # parameters of mallopt(3), of glibc's malloc.h


def weights_dtype(device: str) -> torch.dtype:
    """bfloat16 where it is native; a CPU that emulates it takes a hundred times as long."""
    return resolve_dtype("auto", torch.device(device))


def keep_memory() -> None:
    """Have the C library keep what is freed, where it can be told so (glibc).

    Tensors of some megabytes else come from the system each time, a page fault every 4 KiB.
    """
    if not sys.platform.startswith("linux"):
        return
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
