"""A recorder for the CPU that keeps to the rules of a CUDA graph.

Every operation is written down with the memory it reads and writes, and repeating runs these
operations again, on that same memory, without the Python around them. What a CUDA graph cannot
hold is refused: reading values on the host, numbers brought from there, shapes that follow from
values, and float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sana_stream.engine.performance.cuda_graphs import Work

HOST = ("_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "equal", "is_nonzero")


class NotOnATapeError(Exception):
    pass


class Tape(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self._steps: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, masks = (
            func.overloadpacket.__name__,
            [t.dtype == torch.bool for t in _tensors(args[1:])],
        )
        if name in HOST or (name.startswith("index") and any(masks)):
            raise NotOnATapeError(func)
        result = func(*args, **kwargs)
        if any(t.dtype == torch.float64 for t in _tensors(result)):
            raise NotOnATapeError(f"{func} in float64")
        self._steps.append((func, args, kwargs, result))
        return result

    def repeat(self) -> None:
        for func, args, kwargs, result in self._steps:
            again = func(*args, **kwargs)
            if func._schema.is_mutable:
                continue
            read = {_memory(tensor) for tensor in _tensors((args, kwargs))}
            for own, new in zip(_tensors(result), _tensors(again), strict=True):
                if _memory(own) not in read:  # else a view of what an earlier step has written
                    own.copy_(new)


class TapeRecorder:
    """Counts what it repeats, and sees that turns are taken."""

    def __init__(self) -> None:
        self.repeated = 0
        self._turn = Lock()

    def capture(self, work: Work) -> Work:
        work()
        with Tape() as tape:
            work()

        def repeat() -> None:
            assert self._turn.locked()
            self.repeated += 1
            tape.repeat()

        return repeat

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        with self._turn:
            yield


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
