"""Records every operation on a fake device: devices, dtypes, layouts, bytes, waits, live memory."""

from __future__ import annotations

import functools
import math
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

PACKAGE = ("sana_stream", "/.src/")  # in the paths of the files that are named
_ALLOCATING = {
    *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"),
    *("zeros", "zeros_like", "new_zeros", "full", "full_like", "new_full", "arange"),
    *("fill_", "zero_", "normal_"),
}  # read nothing; the first five write nothing either
_UNWRITTEN = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}


class TensorForm(NamedTuple):
    """What is known of a tensor on a fake device."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: str  # "cpu", "cuda" or "meta"
    stride: tuple[int, ...]


class Operation(NamedTuple):
    """One operation of torch, about one kernel."""

    name: str
    stage: str  # "text", "commit", "denoise", "decode", or "" outside of them
    stream: str  # "main" or "side"
    inputs: tuple[TensorForm, ...]
    outputs: tuple[TensorForm, ...]
    read: int  # bytes; 0 for a view
    written: int
    view: bool
    places: tuple[str, ...]  # "file:line function" of the package's frames, innermost first

    @property
    def devices(self) -> set[str]:
        """The devices of inputs and outputs; numbers on the CPU may be mixed with any."""
        forms = (*self.inputs, *self.outputs)
        return {form.device for form in forms if form.device != "cpu" or form.shape}

    def inside(self, *functions: str) -> bool:
        """Whether a function, "linear_attention" or "RMSNorm.forward", called the operation."""
        return any(place.endswith(f" {name}") for place in self.places for name in functions)


class Wait(NamedTuple):
    """A point at which the host waits for the device."""

    stage: str
    what: str
    place: str


@dataclass
class Record:
    """Everything that was recorded since the last `clear`."""

    operations: list[Operation] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    peak: int = 0  # bytes live on the device, without what was there before the trace
    held: int = 0  # bytes live now


class Trace(TorchDispatchMode):
    """Records operations; enter it inside a `FakeTensorMode`.

    What the host reads from the device is answered as in a healthy stream: `all` is true, `any`
    is false, a whole number is the last token of a full prompt, another number is 1.
    """

    def __init__(self, tokens: int = 300) -> None:
        super().__init__()
        self.stage = ""
        self.streams = ["main"]
        self.record = Record()
        self._tokens = tokens
        self._live: dict[int, int] = {}
        self._pinned: set[int] = set()
        self._made_by: dict[int, str] = {}
        self._paused = False

    def clear(self) -> None:
        """Forget what was recorded; live bytes stay."""
        self.record = Record(peak=self.record.held, held=self.record.held)

    def wait(self, what: str) -> None:
        """Record that the host waits."""
        self.record.waits.append(Wait(self.stage, what, next(iter(_places()), "")))

    @contextmanager
    def on(self, stream: str) -> Iterator[None]:
        """Record operations of the body as of a stream."""
        self.streams.append(stream)
        try:
            yield
        finally:
            self.streams.pop()

    @contextmanager
    def as_one(self, name: str, *inputs: Tensor) -> Iterator[list[Tensor]]:
        """Record the body as one operation; it appends the outputs to the list."""
        outputs: list[Tensor] = []
        self._paused = True
        try:
            yield outputs
        finally:
            self._paused = False
        assert len({form.device for form in map(form_of, inputs)}) == 1, f"{name} mixes devices"
        self._note(name, list(inputs), outputs)

    def pin(self, tensor: Tensor) -> None:
        """Mark the memory of a CPU tensor as pinned."""
        storage = tensor.untyped_storage()
        self._pinned.add(storage._cdata)
        weakref.finalize(storage, self._pinned.discard, storage._cdata)

    def is_pinned(self, tensor: Tensor) -> bool:
        """Whether `pin` was called for the tensor's memory."""
        return tensor.untyped_storage()._cdata in self._pinned

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name == "device":  # asks a fake tensor for its device
            return func(*args, **kwargs)
        given = {key: value for key, value in kwargs.items() if key != "out"}  # is not read
        inputs = [leaf for leaf in tree_leaves((args, given)) if isinstance(leaf, Tensor)]
        if self._paused:
            result = func(*args, **kwargs)
            self._follow(inputs, _tensors(result))
            return result
        if name == "_local_scalar_dense":
            return self._read(inputs[0])
        if name == "nonzero":
            if inputs[0].device.type == "cuda":
                self.wait(name)
            shape = (inputs[0].numel(), inputs[0].dim())
            result = torch.empty(shape, dtype=torch.int64, device=inputs[0].device)
        else:
            result = func(*args, **kwargs)
        if name == "convolution" and inputs[0].device.type == "cuda":
            result = _as_cudnn(result, inputs[0], inputs[1])
        outputs = _tensors(result)
        if name in ("_to_copy", "copy_"):
            source = inputs[0] if name == "_to_copy" else inputs[-1]
            asynchronous = kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2)
            self._check_copy(source, outputs[0], bool(asynchronous))
        self._note(name, inputs, outputs, mutates=func._schema.is_mutable)
        return result

    def _read(self, tensor: Tensor) -> bool | float | int:
        self._note("_local_scalar_dense", [tensor], [])
        if tensor.device.type == "cuda":
            self.wait("reads a value")
        if tensor.dtype == torch.bool:
            return self._made_by.get(tensor.untyped_storage()._cdata) != "any"
        return 1.0 if tensor.dtype.is_floating_point else self._tokens - 1

    def _check_copy(self, source: Tensor, target: Tensor, asynchronous: bool) -> None:
        if {source.device.type, target.device.type} != {"cpu", "cuda"}:
            return
        host = source if source.device.type == "cpu" else target
        if not (asynchronous and self.is_pinned(host)):
            kind = "asynchronous, not pinned" if asynchronous else "blocking"
            self.wait(f"copies {source.device.type} to {target.device.type}, {kind}")

    def _note(
        self, name: str, inputs: list[Tensor], outputs: list[Tensor], mutates: bool = False
    ) -> None:
        own = {tensor.untyped_storage()._cdata for tensor in inputs}
        view = bool(outputs) and not mutates
        view = view and all(out.untyped_storage()._cdata in own for out in outputs)
        read = written = 0
        if not view:
            read = 0 if name in _ALLOCATING else _bytes_read(name, inputs)
            written = 0 if name in _UNWRITTEN else sum(map(_nbytes, outputs))
        for out in outputs:
            if out.dtype == torch.bool:
                self._made_by[out.untyped_storage()._cdata] = name
        forms = tuple(map(form_of, inputs)), tuple(map(form_of, outputs))
        stage, stream = self.stage, self.streams[-1]
        operation = Operation(name, stage, stream, *forms, read, written, view, tuple(_places()))
        self.record.operations.append(operation)
        self._follow(inputs, outputs)

    def _follow(self, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        for tensor in (*inputs, *outputs):
            if tensor.device.type != "cuda":
                continue
            storage = tensor.untyped_storage()
            if storage._cdata not in self._live:
                size = storage.nbytes() if any(tensor is out for out in outputs) else 0
                self._live[storage._cdata] = size
                self.record.held += size
                self.record.peak = max(self.record.peak, self.record.held)
                weakref.finalize(storage, self._forget, storage._cdata)

    def _forget(self, key: int) -> None:
        self.record.held -= self._live.pop(key, 0)


def form_of(tensor: Tensor) -> TensorForm:
    """The form of a tensor."""
    return TensorForm(tuple(tensor.shape), tensor.dtype, tensor.device.type, tuple(tensor.stride()))


def _tensors(result: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]


def _nbytes(tensor: Tensor) -> int:
    """Bytes of memory behind a tensor; an expanded axis is read once."""
    sizes = zip(tensor.shape, tensor.stride(), strict=True)
    count = math.prod(size for size, stride in sizes if stride or size == 1)
    return min(count * tensor.element_size(), tensor.untyped_storage().nbytes())


def _bytes_read(name: str, inputs: list[Tensor]) -> int:
    if name == "copy_":
        return _nbytes(inputs[1])
    different = {
        (t.untyped_storage()._cdata, t.storage_offset(), t.shape, t.stride()): t for t in inputs
    }
    return sum(map(_nbytes, different.values()))


def _as_cudnn(result: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """A convolution's result in the layout that cuDNN gives it."""
    last = torch.channels_last_3d if weight.dim() == 5 else torch.channels_last

    def suggests(t: Tensor) -> bool:
        return t.is_contiguous(memory_format=last) and not t.is_contiguous()

    if not (suggests(x) or suggests(weight)):
        return result
    stride = torch.empty(result.shape, device="meta").to(memory_format=last).stride()
    return torch.empty_strided(result.shape, stride, dtype=result.dtype, device=result.device)


def _places() -> Iterator[str]:
    frame = sys._getframe(1)
    while frame is not None:
        if file := _package_file(frame.f_code.co_filename):
            yield f"{file}:{frame.f_lineno} {frame.f_code.co_qualname}"
        frame = frame.f_back


@functools.cache
def _package_file(path: str) -> str | None:
    """The name of a file of the package; `None` for others."""
    inside = any(part in path for part in PACKAGE) and "fake_gpu" not in path
    return path.rpartition("/")[2] if inside else None
