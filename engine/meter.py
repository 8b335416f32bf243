"""Time and memory of a block's stages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch


class Meter:
    """Measures the stages of one block."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._process = psutil.Process()
        self.seconds: dict[str, float] = {}
        self.peak_bytes = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what runs inside under a name; the caller's queue of the device is waited for."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            if self._device.type == "cuda":
                torch.cuda.current_stream(self._device).synchronize()
            self.seconds[name] = time.perf_counter() - begin
            self.memory_bytes()

    def memory_bytes(self) -> int:
        """Bytes held now: allocated on a CUDA device, else resident in the process."""
        if self._device.type == "cuda":
            now = torch.cuda.memory_allocated(self._device)
            self.peak_bytes = torch.cuda.max_memory_allocated(self._device)
        else:
            now = self._process.memory_info().rss
            self.peak_bytes = max(self.peak_bytes, now)
        return now
