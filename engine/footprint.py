"""How much memory a computation holds at once, counted without data and before it runs."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _LiveBytes(TorchDispatchMode):
    """Adds up the storages that live, and keeps the highest sum."""

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for leaf in tree_leaves((args, kwargs)):  # weights and inputs: held by others
            if isinstance(leaf, Tensor):
                self._note(leaf.untyped_storage(), 0)
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._note(leaf.untyped_storage(), leaf.untyped_storage().nbytes())
        return result

    def _note(self, storage: torch.UntypedStorage, size: int) -> None:
        key = storage._cdata
        if key not in self._held:
            self._held[key] = size
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self._held.pop(key, 0)


def peak_bytes(call: Callable[[], object]) -> int:
    """The most bytes that tensors made by a call hold at once, its result included.

    Meant for models and inputs on the meta device: shapes alone. What a kernel takes inside (a
    convolution's workspace) is not seen.
    """
    with torch.no_grad(), _LiveBytes() as live:
        result = call()
    del result
    return live.peak
