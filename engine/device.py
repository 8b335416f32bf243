"""Devices and dtypes, and the CUDA stream on which blocks are decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from sana_stream._arguments import shown
from sana_stream._text import safe_text
from sana_stream.errors import ConfigError

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
SMALL_DEVICE = 24 << 30  # bytes
HIGH_PRIORITY = -1  # of a CUDA stream; 0 is the default


def resolve_device(device: str | torch.device) -> torch.device:
    """The device of a name; "auto" chooses CUDA, then Apple's MPS, then the CPU.

    Raises:
        ConfigError: an unknown device, or one that this machine does not have.
    """
    if not isinstance(device, str | torch.device):
        raise ConfigError(f"device {shown(device)} is not known; use auto, cpu, cuda or mps")
    if device == "auto":
        return torch.device(_best())
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(
            f"device {shown(device)} is not known; use auto, cpu, cuda or mps"
        ) from error
    if isinstance(device, str) and chosen.type not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"device {shown(device)} is not known; use auto, cpu, cuda or mps")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError('no CUDA device is available here; use device="cpu" (or "auto")')
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {chosen} does not exist; there are {torch.cuda.device_count()} CUDA devices"
        )
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError('no MPS device is available here; use device="cpu" (or "auto")')
    return chosen


def resolve_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """The dtype of a name; "auto" chooses bfloat16 where the device multiplies it natively.

    Elsewhere it chooses float32, in which no layer of the transformer overflows.

    Raises:
        ConfigError: not one of bfloat16, float16, float32.
    """
    if not isinstance(dtype, str | torch.dtype):
        raise ConfigError(f"dtype {shown(dtype)} is not known; use auto, {', '.join(DTYPES)}")
    if dtype == "auto":
        return torch.bfloat16 if _has_bfloat16(device) else torch.float32
    chosen = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if chosen is None or chosen not in DTYPES.values():
        raise ConfigError(f"dtype {safe_text(dtype)} is not known; use auto, {', '.join(DTYPES)}")
    return chosen


def text_offload_device(device: torch.device, offload: bool | None) -> torch.device | None:
    """The device on which the text encoder waits between prompts; `None` for no offloading.

    Args:
        offload: `None` decides by the memory of the device.
    """
    if offload is None:
        offload = device.type == "cuda" and (
            torch.cuda.get_device_properties(device).total_memory <= SMALL_DEVICE
        )
    return torch.device("cpu") if offload and device.type != "cpu" else None


def is_single_threaded(device: torch.device) -> bool:
    """Whether a second thread must not use the device at the same time.

    With MPS torch aborts the process then (pytorch issue 197805).
    """
    return device.type == "mps"


def _best() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        # older cards emulate it, many times slower than float32; torch counts that by default
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # without these instructions bfloat16 is emulated and slower
        return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return False


T = TypeVar("T")


class SideStream(Protocol):
    """Runs work next to other work of the same device, and brings its results to the host."""

    def record_event(self) -> Any:
        """An event after which the caller's tensors are complete."""
        ...

    def run(self, work: Callable[[], T], event: Any, reads: Tensor) -> T:
        """Run work after an event and wait for its end.

        Args:
            work: may use `host_memory` and `to_host`.
            event: of the caller's stream.
            reads: a tensor of the caller's stream that the work uses.
        """
        ...

    def wait(self, event: Any) -> None:
        """Wait for an event that `record_event` returned, within or outside of `run`."""
        ...

    def host_memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Memory on the CPU for `to_host`."""
        ...

    def to_host(self, tensor: Tensor, target: Tensor | None = None) -> Tensor:
        """Copy a tensor of the work to the CPU; the copy is complete once `run` has returned,
        or after an event recorded later.

        Args:
            tensor: on any device; one on the CPU may be returned itself.
            target: a part of `host_memory` of the same shape and dtype; default: a new tensor.
        """
        ...


class InlineStream:
    """Runs work at once: for the CPU and devices with one queue."""

    def record_event(self) -> None:
        return None

    def run(self, work: Callable[[], T], event: None, reads: Tensor) -> T:
        return work()

    def wait(self, event: None) -> None:
        pass

    def host_memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype)

    def to_host(self, tensor: Tensor, target: Tensor | None = None) -> Tensor:
        return tensor.cpu() if target is None else target.copy_(tensor)


class CudaSideStream:
    """A second CUDA stream; results are copied into pinned memory, which the caller keeps.

    It has priority over the caller's stream: frames leave earlier, and what is sampled meanwhile
    is not needed before them.
    """

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        self._device = device
        self._cuda = cuda
        self._stream = cuda.Stream(device, priority=HIGH_PRIORITY)

    def record_event(self) -> Any:
        return self._cuda.current_stream(self._device).record_event()

    def run(self, work: Callable[[], T], event: Any, reads: Tensor) -> T:
        with self._cuda.stream(self._stream):
            self._stream.wait_event(event)
            # its memory must not be reused while this stream still reads it
            reads.record_stream(self._stream)
            result = work()
            self._stream.record_event().synchronize()
            return result

    def wait(self, event: Any) -> None:
        event.synchronize()

    def host_memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    def to_host(self, tensor: Tensor, target: Tensor | None = None) -> Tensor:
        if target is None:
            target = self.host_memory(tensor.shape, tensor.dtype)
        return target.copy_(tensor, non_blocking=True)


def side_stream_for(device: torch.device) -> SideStream:
    """The side stream of a device."""
    return CudaSideStream(device) if device.type == "cuda" else InlineStream()
