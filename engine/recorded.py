"""A function of tensors that is repeated from recordings, one for each form of its arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map, tree_unflatten

from .recorder import Recorder, Work

R = TypeVar("R")
Form = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Recording(Generic[R]):
    """Memory that is filled, work on it, and memory that is read."""

    inputs: list[Tensor]
    repeat: Work
    output: R


class Recorded(Generic[R]):
    """Calls as `function` does, faster for arguments of the forms that were recorded.

    Arguments are tensors, alone and in tuples and named tuples. They are copied into a recording's
    own memory and the result is copied out of it, so neither is changed by a later call. A form is
    shapes, dtypes and the order of axes in memory; one that was not recorded runs as it is.
    """

    def __init__(self, function: Callable[..., R], recorder: Recorder) -> None:
        self._function = function
        self._recorder = recorder
        self._recordings: dict[Form, Recording[R]] = {}

    @torch.no_grad()
    def record(self, *args: Any) -> None:
        """Record the work for arguments of this form; their values do not matter."""
        tensors, tree = tree_flatten(args)
        inputs = [tensor.clone() for tensor in tensors]
        outputs: list[R] = []

        def work() -> None:
            outputs[:] = [self._function(*tree_unflatten(inputs, tree))]

        repeat = self._recorder.record(work)
        self._recordings[_form(inputs, tree)] = Recording(inputs, repeat, outputs[0])

    def __call__(self, *args: Any) -> R:
        tensors, tree = tree_flatten(args)
        recording = self._recordings.get(_form(tensors, tree))
        if recording is None:
            return self._function(*args)
        with self._recorder.turn():
            for own, given in zip(recording.inputs, tensors, strict=True):
                own.copy_(given)
            recording.repeat()
            return tree_map(torch.clone, recording.output)


def _form(tensors: list[Tensor], tree: TreeSpec) -> Form:
    return tree, *((t.dtype, t.device, *map(_axis, t.shape, t.stride())) for t in tensors)


def _axis(size: int, stride: int) -> tuple[int, int]:
    return size, stride if size > 1 else 0  # where there is one element, no stride is taken
