"""Runs calls of the transformer, of one stream or of several together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from sana_stream.engine.loading.model import LoadedModel
from sana_stream.models.text_kv import TextBatch
from sana_stream.models.transformer import SanaVideoTransformer

from .calls import Call, Result


class ModelRunner:
    """Runs calls and returns their results; knows no stream.

    Calls of one form run as one batch, velocities and commits together: a commit is the same
    forward at timestep 0 whose sums are kept. On the CPU each result equals that of the call alone,
    bit for bit. Calls of a captured graph, of compiled layers, on fused kernels and of SANA-Video
    2.0 run one by one.

    Args:
        model: whose transformer runs; its `transformer_calls` may change between two runs.
        max_batch_size: the most calls in one batch.
    """

    def __init__(self, model: LoadedModel, max_batch_size: int = 1) -> None:
        self._model = model
        self.max_batch_size = max_batch_size

    def run(self, calls: Sequence[Call]) -> list[Result]:
        """The results of the calls, in their order."""
        transformer = self._model.transformer_calls
        if len(calls) < 2 or self.max_batch_size < 2 or not self._can_batch():
            alone = [partial(call.run, transformer) for call in calls]
            return self._model.peers.run_calls(alone)
        groups: dict[object, list[int]] = {}
        for number, call in enumerate(calls):
            groups.setdefault(call.form, []).append(number)
        results: dict[int, Result] = {}
        for numbers in groups.values():
            for first in range(0, len(numbers), self.max_batch_size):
                part = numbers[first : first + self.max_batch_size]
                found = self._run_batch([calls[number] for number in part])
                results.update(zip(part, found, strict=True))
        return [results[number] for number in range(len(calls))]

    def _can_batch(self) -> bool:
        model = self._model
        plain = isinstance(model.transformer, SanaVideoTransformer) and not model.transformer.fused
        return plain and model.transformer_calls is model.transformer

    def _run_batch(self, calls: Sequence[Call]) -> list[Result]:
        transformer = self._model.transformer
        assert isinstance(transformer, SanaVideoTransformer)
        if len(calls) == 1:
            return [calls[0].run(transformer)]
        times = [
            call.latents.new_zeros(1, call.latents.shape[2] if call.form[-1] else 1)
            if call.times is None
            else call.times
            for call in calls
        ]
        return transformer.run_batch(
            torch.cat([call.latents for call in calls]),
            torch.cat(times),
            TextBatch(tuple(call.text for call in calls)),
            [call.past for call in calls],
            [call.start for call in calls],
            [call.is_commit for call in calls],
        )
