"""Recording a device's work to repeat it in one call: CUDA graphs behind a small interface."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock
from typing import Any, Protocol

import torch

from ..models.errors import ConfigError

WARM_UPS = 3  # runs before a recording, in which libraries choose their kernels and make workspaces

Work = Callable[[], None]


class Recorder(Protocol):
    """Records work that reads and writes the same memory each time it is repeated."""

    def record(self, work: Work) -> Work:
        """What repeats the device's part of the work, without its Python."""
        ...

    def turn(self) -> AbstractContextManager[None]:
        """Only one recording is filled, repeated and read at a time, on whichever queue."""
        ...


class CudaRecorder:
    """CUDA graphs that share one pool of memory, which they may since they take turns."""

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        self._device = device
        self._cuda = cuda
        self._pool = cuda.graph_pool_handle()
        self._lock = Lock()
        self._read: Any = None  # the event after which the last turn's memory is free again

    def record(self, work: Work) -> Work:
        with self._cuda.device(self._device):
            current, side = self._cuda.current_stream(), self._cuda.Stream()
            side.wait_stream(current)
            with self._cuda.stream(side):
                for _ in range(WARM_UPS):
                    work()
            current.wait_stream(side)
            graph = self._cuda.CUDAGraph()
            with self._cuda.graph(graph, pool=self._pool):
                work()
        return graph.replay

    @contextmanager
    def turn(self) -> Iterator[None]:
        with self._lock:
            queue = self._cuda.current_stream(self._device)
            if self._read is not None:
                queue.wait_event(self._read)
            yield
            self._read = queue.record_event()


def recorder_for(device: torch.device) -> Recorder:
    """The recorder of a device.

    Raises:
        ConfigError: the device has none.
    """
    if device.type != "cuda":
        raise ConfigError(f"graphs need a CUDA device, this is {device.type}; leave --graphs out")
    return CudaRecorder(device)
