"""The first process of a stream on several devices: it directs the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from contextlib import nullcontext
from dataclasses import replace
from itertools import count
from typing import Any, TypeVar

from torch import Tensor

from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.noise import CounterNoise, NoiseSource
from sana_stream.engine.sampling.denoise import embed_prompt
from sana_stream.engine.sampling.prompt_mixing import Embedded
from sana_stream.engine.snapshot.snapshot import SessionSettings, Snapshot
from sana_stream.errors import HealthError

from .calls import ContextParallelCalls
from .embeddings import Prompt, prompts_of
from .groups import Groups, Place
from .layout import Layout, check_layout, choose_layout
from .link import Link
from .messages import MakeGroups, SamplingHistory, describe_sample

T = TypeVar("T")
CANCEL = "cancel"  # the sampling ends before its next call


class Leader:
    """The `Peers` of the first process.

    Before each block it sends what the block is sampled from, and before each network call whether
    sampling continues. It alone has the outputs, the history and the snapshots.

    Args:
        model: of this process.
        link: to all other processes.
        groups: of this process.
        devices: of the stream.
        parallel: as for `choose_layout`.
    """

    def __init__(
        self, model: LoadedModel, link: Link, groups: Groups, devices: int, parallel: str | None
    ) -> None:
        self.devices = devices
        self.parallel = parallel
        self.link = link
        self.failed = False
        self.groups = groups
        self._model = model
        self._history = SamplingHistory()
        self._numbers = count()
        self._place: Place | None = None  # while a block is sampled
        self._followers: range = range(0)
        self._sent: tuple[range, tuple[Prompt, ...]] | None = None  # whose embeddings are known

    def layout_for(self, settings: SessionSettings) -> Layout:
        """How a stream with these settings is divided.

        Raises:
            ConfigError: it cannot be.
        """
        model = self._model
        *_, height, width = model.latent_shape(1, settings.height, settings.width)
        rows, _ = model.transformer.grid(height, width)
        guided = settings.guidance != 1
        layout = choose_layout(self.devices, self.parallel, guided, settings.block_frames, rows)
        check_layout(layout, model.preset.name, model.transformer.config.causal, model.quantized)
        return layout

    def describe(self, settings: SessionSettings) -> str:
        return str(replace(self.layout_for(settings), decoder=False))

    def sample(self, snapshot: Snapshot, noise: NoiseSource, work: Callable[[NoiseSource], T]) -> T:
        if self.failed or self.link.lost is not None:
            self.failed = True
            raise self.link.error()
        layout = self.layout_for(snapshot.settings)
        if layout.sampling == 1:
            return work(noise)
        if not self.groups.has(layout):
            self.link.send(MakeGroups(layout))
        place = self.groups.place(layout)
        assert place is not None
        number, seed = next(self._numbers), None
        if isinstance(noise, CounterNoise):
            seed = noise.seed
        else:
            noise = self._shared(noise)
        self._place, self._followers = place, range(1, layout.sampling)
        prompts = self._followers, prompts_of(snapshot)
        embeddings = None if prompts == self._sent else self._embed(snapshot)
        message = describe_sample(number, layout, snapshot, embeddings, seed, self._history)
        self.link.send(message, self._followers)
        self._sent = prompts
        try:
            with divided(self._model, place):
                block: Any = work(noise)
        except _NoiseError as error:  # these two end the sampling in every process
            raise error.error from None
        except (CancelledError, HealthError):
            raise
        except BaseException as error:
            raise self._fail(error) from error
        finally:
            self._place = None
        self._history.add(number, block.after)
        return block

    def should_stop(self, interrupted: bool) -> bool:
        if self._place is not None:
            self.link.send(CANCEL if interrupted else None, self._followers)
        return interrupted

    def run_calls(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        return [call() for call in calls] if self._place is None else self._place.run_calls(calls)

    def _embed(self, snapshot: Snapshot) -> list[Embedded]:
        return [embed_prompt(self._model, *prompt) for prompt in prompts_of(snapshot)]

    def _shared(self, noise: NoiseSource) -> NoiseSource:
        """The caller's noise, which the other processes get too."""

        def drawn(block: int, step: int, shape: tuple[int, ...]) -> Tensor:
            try:
                tensor = noise(block, step, shape)
            except Exception as error:
                self.link.send(CANCEL, self._followers)
                raise _NoiseError(error) from error
            self.link.send(tensor.detach().float().cpu().numpy(), self._followers)
            return tensor

        return drawn

    def _fail(self, error: BaseException) -> BaseException:
        """What is raised after an error that may have left the others within a call."""
        found = self.link.explain(error)
        self.failed = True
        self.link.close()
        return found


class _NoiseError(Exception):
    """The caller's noise source has failed, outside of any call."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def divided(model: LoadedModel, place: Place) -> Any:
    """A context in which the transformer's calls are divided."""
    if place.exchange is None:
        return nullcontext()
    assert isinstance(model.transformer_calls, ContextParallelCalls)
    return model.transformer_calls.active(place.exchange)
