"""Stand-ins for what `torch.cuda` and kernels of CUDA do, for tensors of a fake device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.overrides import TorchFunctionMode

from .guard import load_guard
from .trace import Trace

GIB = 1 << 30
DEVICE = torch.device("cuda", 0)


class FakeEvent:
    """An event of a fake stream; every time between two of them is 1 ms."""

    def __init__(self, trace: Trace, enable_timing: bool = False) -> None:
        self._trace = trace
        self._timed = enable_timing

    def record(self, stream: FakeStream | None = None) -> None:
        pass

    def query(self) -> bool:
        return True

    def wait(self, stream: FakeStream | None = None) -> None:
        pass

    def synchronize(self) -> None:
        self._trace.wait("synchronizes with an event")

    def elapsed_time(self, end: FakeEvent) -> float:
        if not (self._timed and end._timed):
            raise RuntimeError("both events must be created with enable_timing=True")
        return 1.0


class FakeStream:
    """A stream of a fake device."""

    def __init__(self, trace: Trace, name: str = "side") -> None:
        self._trace = trace
        self.name = name

    def record_event(self, event: FakeEvent | None = None) -> FakeEvent:
        return event or FakeEvent(self._trace)

    def wait_event(self, event: FakeEvent) -> None:
        pass

    def wait_stream(self, stream: FakeStream) -> None:
        pass

    def synchronize(self) -> None:
        self._trace.wait("synchronizes with a stream")


class FakeFunctions(TorchFunctionMode):
    """Functions that cannot run on a fake device, or that CUDA runs as one kernel."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self._trace = trace
        self._own: dict[Any, Callable[..., Any]] = {
            F.scaled_dot_product_attention: self._attention,
            F.rms_norm: self._rms_norm,
            torch.empty: self._empty,
            torch.tensor: self._tensor,
            Tensor.numpy: self._numpy,
            Tensor.pin_memory: self._pin_memory,
            Tensor.is_pinned: self._trace.is_pinned,
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._own.get(func, func)(*args, **(kwargs or {}))

    def _attention(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Softmax attention as one kernel, its output token by token."""
        inputs = [query, key, value, *([] if attn_mask is None else [attn_mask])]
        with self._trace.as_one("scaled_dot_product_attention", *inputs) as outputs:
            batch, heads, tokens, _ = query.shape
            shape = (batch, tokens, heads, value.shape[-1])
            outputs.append(query.new_empty(shape).transpose(1, 2))
        return outputs[0]

    def _rms_norm(self, x: Tensor, shape: Any, weight: Tensor, eps: float | None = None) -> Tensor:
        """RMS normalisation as one kernel, as from torch 2.9 on."""
        with self._trace.as_one("rms_norm", x, weight) as outputs:
            dtype = torch.promote_types(x.dtype, weight.dtype)
            outputs.append(torch.empty_like(x, dtype=dtype))
        return outputs[0]

    def _empty(self, *size: Any, pin_memory: bool = False, **options: Any) -> Tensor:
        made = torch.empty(*size, **options)
        if pin_memory:
            self._trace.pin(made)
        return made

    def _tensor(self, data: Any, *, device: Any = None, **options: Any) -> Tensor:
        """Numbers of Python: on CUDA their copy waits.

        The numbers are dropped: torch would compute with them, on a device that does not exist.
        """
        made = torch.tensor(data, device="meta", **options)
        if device is not None and torch.device(device).type == "cuda":
            self._trace.wait("copies numbers of Python to cuda")
        return torch.zeros(made.shape, dtype=made.dtype, device=device)

    def _numpy(self, tensor: Tensor) -> np.ndarray:
        if tensor.device.type != "cpu":
            raise TypeError(f"can't convert a {tensor.device.type} tensor to numpy")
        return np.zeros(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))

    def _pin_memory(self, tensor: Tensor) -> Tensor:
        pinned = torch.empty_like(tensor)
        self._trace.pin(pinned)
        return pinned


@contextmanager
def fake_cuda(
    trace: Trace | None = None,
    *,
    memory: int = 80 * GIB,
    capability: tuple[int, int] = (9, 0),
    bfloat16: bool = True,
    versions: Mapping[str, Any] | None = None,
) -> Iterator[Trace]:
    """Make `cuda:0` a fake device in the body, for this thread.

    Args:
        trace: records the operations; default: a new one.
        memory: of the device, in bytes.
        capability: of the device.
        bfloat16: whether it has bfloat16 instructions; without them torch emulates it.

    Yields:
        The trace.
    """
    load_guard()
    trace = trace or Trace()
    functions = _cuda_functions(trace, memory, capability, bfloat16)
    with (
        patch.multiple(torch.cuda, **functions),
        patch.object(nn.Module, "_apply", _apply),
        patch.object(Tensor, "record_stream", lambda tensor, stream: None),  # wants a real stream
        FakeTensorMode(allow_non_fake_inputs=True),
        FakeFunctions(trace),
        trace,
    ):
        yield trace


def _cuda_functions(
    trace: Trace, memory: int, capability: tuple[int, int], bfloat16: bool
) -> dict[str, Any]:
    properties = SimpleNamespace(
        name="fake GPU", total_memory=memory, major=capability[0], minor=capability[1]
    )
    streams = {"main": FakeStream(trace, "main"), "side": FakeStream(trace)}

    @contextmanager
    def stream(chosen: FakeStream) -> Iterator[None]:
        with trace.on(chosen.name):
            yield

    def event(enable_timing: bool = False, **_: Any) -> FakeEvent:
        return FakeEvent(trace, enable_timing)

    def supports_bfloat16(including_emulation: bool = True) -> bool:
        return bfloat16 or including_emulation

    return {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "is_bf16_supported": supports_bfloat16,
        "get_device_properties": lambda device=None: properties,
        "get_device_capability": lambda device=None: capability,
        "get_device_name": lambda device=None: properties.name,
        "mem_get_info": lambda device=None: (memory, memory),
        "memory_reserved": lambda device=None: trace.record.held,
        "memory_allocated": lambda device=None: trace.record.held,
        "max_memory_allocated": lambda device=None: trace.record.peak,
        "synchronize": lambda device=None: trace.wait("synchronizes with the device"),
        "current_stream": lambda device=None: streams[trace.streams[-1]],
        "Stream": lambda device=None, **_: streams["side"],
        "stream": stream,
        "Event": event,
        "_lazy_init": lambda: None,
    }


def _apply(module: nn.Module, convert: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
    """`nn.Module._apply` without replacing a tensor's data, which fake tensors do not allow."""
    for child in module.children() if recurse else ():
        child._apply(convert)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            converted = convert(parameter.detach())
            module._parameters[name] = nn.Parameter(converted, requires_grad=False)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = convert(buffer)
    return module
