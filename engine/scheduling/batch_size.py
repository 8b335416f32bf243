"""Measurements of a model's calls: their times, and the batch that pays."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.sampling.calls import Call, Result
from sana_stream.engine.sampling.model_runner import ModelRunner
from sana_stream.engine.snapshot.snapshot import SessionSettings, initial_snapshot

from .costs import Costs
from .demand import block_works

SIZES = (1, 2, 4, 8)
GOOD_ENOUGH = 1.05  # times the best time of a stream
REPEATS = 3


class DeviceRunner(ModelRunner):
    """A runner that stays at most one step ahead of the device.

    So the times that it takes are those of the device, and a cancelled block ends soon.
    """

    def __init__(self, model: LoadedModel, max_batch_size: int = 1) -> None:
        super().__init__(model, max_batch_size)
        self._device = model.device
        self._last: Any = None

    def run(self, calls: Sequence[Call]) -> list[Result]:
        results = super().run(calls)
        if self._device.type == "cuda":
            event = torch.cuda.current_stream(self._device).record_event()
            if self._last is not None:
                self._last.synchronize()
            self._last = event
        return results


@torch.no_grad()
def measure_costs(model: LoadedModel, settings: SessionSettings, costs: Costs) -> None:
    """Measure one call of the transformer and the decoding of one block."""
    sampling, decoding = block_works(model, settings)
    call = _call(model, settings)
    seconds = _seconds(model, lambda: call.run(model.transformer_calls))
    costs.measured(sampling.form, seconds * sampling.items)
    pieces = model.decode_frames_for(settings.block_frames, settings.height, settings.width)

    def decode() -> None:
        cache = None
        for piece in call.latents.split(pieces, dim=2):
            _, cache = model.decoder_calls.decode(piece, cache)

    costs.measured(decoding.form, _seconds(model, decode))


@torch.no_grad()
def measure_batch_size(model: LoadedModel, settings: SessionSettings) -> int:
    """The smallest of 1, 2, 4 and 8 within 5 % of the best time of a stream."""
    call = _call(model, settings)
    times = {}
    for size in SIZES:
        runner = ModelRunner(model, size)
        try:
            seconds = _seconds(model, lambda: runner.run([call] * size))  # noqa: B023
        except torch.OutOfMemoryError:
            break
        times[size] = seconds / size
    return smallest_good(times)


def smallest_good(times: dict[int, float]) -> int:
    """The smallest size whose time of a stream is within 5 % of the best; 1 without times."""
    best = min(times.values(), default=0.0)
    return min((size for size, each in times.items() if each <= best * GOOD_ENOUGH), default=1)


def _call(model: LoadedModel, settings: SessionSettings) -> Call:
    """A call of a block in mid-stream, without content."""
    text = model.transformer_calls.prepare_text(*model.encode_prompt(""))
    past = initial_snapshot(model, settings, "", "").states[0].past()
    shape = model.latent_shape(settings.block_frames, settings.height, settings.width)
    latents = torch.zeros(shape, device=model.device)
    return Call(latents, text, past, 0, torch.zeros(1, 1, device=model.device))


def _seconds(model: LoadedModel, call: Callable[[], object]) -> float:
    """The least time of a few runs, after one that warms up."""

    def timed() -> float:
        begun = time.perf_counter()
        call()
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        return time.perf_counter() - begun

    timed()
    return min(timed() for _ in range(REPEATS))
