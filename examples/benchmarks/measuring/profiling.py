"""Profile of a piece of work: operations by input shape, kernels, and their sum."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from measuring.records import emit
from measuring.timing import device_microseconds

ROWS = 40


def profile_stage(name: str, work: Callable[[], Any], device: torch.device) -> None:
    """Print the wall time of a stage, the sum of its kernels and the top of both tables.

    Args:
        name: of the records.
        work: computes the same each time.
        device: that it runs on; on the CPU operations stand for kernels.
    """
    gpu = device.type == "cuda"

    def once() -> float:
        begun = time.perf_counter()
        work()
        if gpu:
            torch.cuda.synchronize(device)
        return (time.perf_counter() - begun) * 1e3

    once()
    emit("gaps", name, wall_ms=statistics.median(once() for _ in range(3)))
    activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * gpu]
    with profile(activities=activities, record_shapes=True) as profiler:
        once()
    cost = device_microseconds if gpu else _cpu_microseconds
    kernels = [e for e in profiler.key_averages() if _on_device(e) == gpu]
    by_shape = profiler.key_averages(group_by_input_shape=True)
    total = sum(cost(event) for event in kernels) / 1e3
    emit("gaps", name, kernel_ms=total, launches=sum(event.count for event in kernels))
    if gpu:
        _emit_top("profile", name, kernels, cost)
    _emit_top("operations", name, [e for e in by_shape if not _on_device(e)], cost)


def _emit_top(table: str, name: str, events: Iterable[Any], cost: Callable[[Any], float]) -> None:
    top = sorted(events, key=cost, reverse=True)[:ROWS]
    for place, event in enumerate(top, 1):
        shapes = str(event.input_shapes)[:150] if event.input_shapes else None
        values = {"calls": event.count, "ms": cost(event) / 1e3, "shapes": shapes}
        emit(table, f"{name} {place}: {event.key[:110]}", **values)


def _on_device(event: Any) -> bool:
    return "CPU" not in str(event.device_type)


def _cpu_microseconds(event: Any) -> float:
    return event.self_cpu_time_total
