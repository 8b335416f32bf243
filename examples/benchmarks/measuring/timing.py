"""Times and kernels of pieces of work on a device, as records of the probe."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from measuring.records import emit, emit_error, reason_of

Work = Callable[[], Any]
LONGEST = 0.15  # seconds for the repeats of one piece of work


class Bench:
    """Measures pieces of work on a device; each becomes a record.

    Args:
        device: the work's device.
        small: shapes that any machine can compute, to see that everything runs.
    """

    def __init__(self, device: torch.device, small: bool) -> None:
        self.device = device
        self.small = small
        self.gpu = device.type == "cuda"

    def tensor(self, *shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
        """Normal random numbers on the device."""
        return torch.randn(*shape, device=self.device, dtype=torch.float32).to(dtype)

    def row(self, table: str, name: str, work: Work, flop: float = 0, moved: float = 0) -> None:
        """Measure work and print its record, or that of its failure.

        Args:
            table, name: of the record.
            work: called several times; it must not change its input.
            flop: floating-point operations of a call.
            moved: bytes that a call must read and write.
        """
        try:
            ms = self.milliseconds(work)
            rates = {"tflops": flop / ms / 1e9} if flop else {}
            rates |= {"gbs": moved / ms / 1e6} if moved else {}
            emit(table, name, ms=ms, **rates)
        except Exception as error:  # a missing interface, no memory, no such kernel
            emit_error(table, name, error)
            return
        if self.gpu:
            try:
                emit(table, name, kernel=self.kernels(work))
            except Exception as error:  # the profiler is not available everywhere
                emit(table, name, kernel=f"unknown: {reason_of(error)}")

    def milliseconds(self, work: Work) -> float:
        """Median time of a call, after two that do not count."""
        work()
        self.wait()
        begun = time.perf_counter()
        work()
        self.wait()
        once = time.perf_counter() - begun
        repeats = max(2, min(20, int(LONGEST / once)))
        if not self.gpu:
            return statistics.median(self._seconds(work) for _ in range(repeats)) * 1e3
        events = [[torch.cuda.Event(enable_timing=True) for _ in "be"] for _ in range(repeats)]
        for begin, end in events:
            begin.record()
            work()
            end.record()
        self.wait()
        return statistics.median(begin.elapsed_time(end) for begin, end in events)

    def _seconds(self, work: Work) -> float:
        begun = time.perf_counter()
        work()
        return time.perf_counter() - begun

    def kernels(self, work: Work, most: int = 2) -> str:
        """The kernels of a call that take longest, longest first."""
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            work()
            self.wait()
        events = sorted(profiler.key_averages(), key=device_microseconds, reverse=True)
        return " + ".join(event.key[:70] for event in events[:most])

    def wait(self) -> None:
        """Wait for the device."""
        if self.gpu:
            torch.cuda.synchronize(self.device)

    def matrix_rate(self, dtype: torch.dtype) -> float:
        """Operations a second of a large matrix product, a measure of the machine's peak speed."""
        side = 8192 if self.gpu else 1024
        a = self.tensor(side, side, dtype=dtype)
        return 2 * side**3 / self.milliseconds(lambda: a @ a) * 1e3


def device_microseconds(event: Any) -> float:
    """Device time of an event of the profiler, without that of the operations it called."""
    for name in ("self_device_time_total", "self_cuda_time_total"):  # the name until torch 2.3
        if hasattr(event, name):
            return getattr(event, name)
    return 0.0
