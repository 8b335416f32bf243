"""Where a session's networks run: on the calling thread, or on one that several sessions share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.sampling.calls import Steps, drive
from sana_stream.engine.sampling.decode import DeliverPart
from sana_stream.engine.sampling.denoise import embed_prompt
from sana_stream.engine.sampling.model_runner import ModelRunner

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BlockWork:
    """One block's sampling or decoding, as its cost is known before."""

    kind: str  # "sample" or "decode"
    shape: tuple[int, ...]  # of the block's latents, (1, C, T, h, w)
    steps: int  # network calls, one after the other; guidance makes two at once
    items: int = 1  # calls at once

    @property
    def form(self) -> tuple[Any, ...]:
        """What the time of one step depends on."""
        return self.kind, self.shape, self.items


class Executor(Protocol):
    """Runs the networks for one session."""

    @property
    def is_concurrent(self) -> bool:
        """Whether blocks may be sampled and decoded at the same time."""
        ...

    def embed(self, prompt: str, negative: bool) -> tuple[Tensor, Tensor]:
        """Embed a prompt or a negative prompt, as the model's text encoder does."""
        ...

    def sample(self, steps: Steps[T], check: Callable[[], None], work: BlockWork) -> T:
        """Make the calls of a block and return what its generator returns.

        Args:
            steps: the block; closed where it does not end.
            check: called before each call; what it raises is raised here.
            work: its cost.
        """
        ...

    def decode(
        self,
        decode: Callable[[DeliverPart | None], T],
        deliver: DeliverPart | None,
        work: BlockWork,
    ) -> T:
        """Decode a block and return what the function returns.

        Args:
            decode: takes what gets the block's parts.
            deliver: gets them on the calling thread.
            work: its cost.
        """
        ...

    def wake(self) -> None:
        """Apply the check of `sample` soon."""
        ...

    def set_deadline(self, deadline: float | None) -> None:
        """As `Session.set_deadline`."""
        ...

    def set_idle(self, idle: bool) -> None:
        """Give the session's share of the device to others, or claim it again."""
        ...

    @property
    def place(self) -> int:
        """As `Session.place`."""
        ...


class DirectExecutor:
    """Runs the networks at once on the calling thread, for a session alone."""

    is_concurrent = True
    place = 0

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._runner = ModelRunner(model)

    def embed(self, prompt: str, negative: bool) -> tuple[Tensor, Tensor]:
        return embed_prompt(self._model, prompt, negative)

    @torch.no_grad()
    def sample(self, steps: Steps[T], check: Callable[[], None], work: BlockWork) -> T:
        return drive(steps, self._runner.run, check)

    @torch.no_grad()
    def decode(
        self,
        decode: Callable[[DeliverPart | None], T],
        deliver: DeliverPart | None,
        work: BlockWork,
    ) -> T:
        return decode(deliver)

    def wake(self) -> None:
        pass

    def set_deadline(self, deadline: float | None) -> None:
        pass

    def set_idle(self, idle: bool) -> None:
        pass


def sampling_work(shape: Sequence[int], timesteps: int, commit: bool, guided: bool) -> BlockWork:
    """The cost of sampling a block of latents (1, C, T, h, w)."""
    return BlockWork("sample", tuple(shape), timesteps + commit, 1 + guided)


def decoding_work(shape: Sequence[int]) -> BlockWork:
    """The cost of decoding a block of latents (1, C, T, h, w)."""
    return BlockWork("decode", tuple(shape), 1)
