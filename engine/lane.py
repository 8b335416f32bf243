"""Where blocks are decoded: on a CUDA stream of its own, beside the drafting of the next block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")


class Lane(Protocol):
    """Runs work that follows other work of the same device."""

    def mark(self) -> Any:
        """A point in the caller's own queue, up to which its tensors are whole."""
        ...

    def run(self, work: Callable[[], T], mark: Any, reads: Tensor) -> T:
        """Do the work once the point is reached; `reads` was made in the caller's queue."""
        ...

    def to_host(self, tensor: Tensor) -> np.ndarray:
        """A tensor that `run`'s work made, whole, as an array."""
        ...


class DirectLane:
    """Work is done at once: the CPU, and devices with one queue."""

    def mark(self) -> None:
        return None

    def run(self, work: Callable[[], T], mark: None, reads: Tensor) -> T:
        return work()

    def to_host(self, tensor: Tensor) -> np.ndarray:
        return tensor.cpu().numpy()


class CudaLane:
    """A second CUDA stream; pictures leave through pinned memory and are read after an event."""

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        self._device = device
        self._cuda = cuda
        self._stream = cuda.Stream(device)

    def mark(self) -> Any:
        return self._cuda.current_stream(self._device).record_event()

    def run(self, work: Callable[[], T], mark: Any, reads: Tensor) -> T:
        with self._cuda.stream(self._stream):
            self._stream.wait_event(mark)
            # its memory may not be given to the other queue while this one still reads it
            reads.record_stream(self._stream)
            return work()

    def to_host(self, tensor: Tensor) -> np.ndarray:
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        host.copy_(tensor, non_blocking=True)
        self._stream.record_event().synchronize()
        return host.numpy().copy()  # pinned memory is scarce: it is not the block's to keep


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on the device; what is on the CPU is sent to CUDA without waiting for its queue."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def lane_for(device: torch.device) -> Lane:
    """The lane of a device."""
    return CudaLane(device) if device.type == "cuda" else DirectLane()
