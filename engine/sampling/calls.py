"""Calls of the transformer as data, and the loop that makes them for one stream alone.

Whatever samples a block is a generator: it yields the calls that it needs next and is sent their
results. So blocks of several streams can be sampled alternately on one thread, and closing a
generator cancels its block.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from sana_stream.engine.loading.model import TransformerCalls
from sana_stream.models.memory_policy import Past, StateUpdate
from sana_stream.models.text_kv import TextKV

T = TypeVar("T")
Result = Any
"""Of a call: the velocity, a Tensor (1, C, T, h, w), or for a commit a `StateUpdate`."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the transformer for one stream: a velocity, or the commit of a clean block."""

    latents: Tensor  # (1, C, T, h, w)
    text: TextKV
    past: Past
    start: int  # absolute index of the first latent frame
    times: Tensor | None = None  # timesteps (1, 1 or T); None for a commit, which is at timestep 0
    rotation: Any = None  # of the block, where the caller has computed it

    @property
    def is_commit(self) -> bool:
        """Whether the state update is wanted and not the velocity."""
        return self.times is None

    @property
    def form(self) -> tuple[Any, ...]:
        """What must be equal in calls that share a batch."""
        latents, times = self.latents, self.times
        per_frame = times is not None and times.shape[-1] > 1
        return tuple(latents.shape), latents.dtype, per_frame

    def run(self, transformer: TransformerCalls) -> Tensor | StateUpdate:
        """Make the call alone."""
        if self.times is None:
            return transformer.commit(self.latents, self.text, self.past, self.start)
        given = self.latents, self.times, self.text, self.past, self.start, self.rotation
        return transformer.denoise(*given)


Calls = tuple[Call, ...]

Steps = Generator[Calls, Sequence[Result], T]
"""Work that yields the calls it needs next and is sent their results, in the same order."""


def drive(
    steps: Steps[T],
    run: Callable[[Calls], Sequence[Result]],
    check: Callable[[], None] = lambda: None,
) -> T:
    """Make all calls of a generator at once, one after the other, and return its result.

    Args:
        steps: is closed where a call or the check raises.
        run: makes calls.
        check: called before each `run`; what it raises ends the work.
    """
    try:
        calls = next(steps)
        while True:
            check()
            calls = steps.send(run(calls))
    except StopIteration as end:
        return end.value
    finally:
        steps.close()
