"""Settings of the machine: the fastest dtype, and reuse of freed memory."""

from __future__ import annotations

import ctypes
import sys

import torch

from sana_stream.engine.device import resolve_dtype

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # parameters of mallopt(3), of glibc's malloc.h


def weights_dtype(device: str) -> torch.dtype:
    """bfloat16 where it is native, else float32; emulation is a hundred times slower."""
    return resolve_dtype("auto", torch.device(device))


def keep_freed_memory() -> None:
    """Make glibc's malloc keep freed memory; other C libraries are not changed.

    Otherwise tensors of some megabytes are mapped anew each time, with a page fault per 4 KiB.
    """
    if not sys.platform.startswith("linux"):
        return
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
